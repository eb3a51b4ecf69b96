//! What is wrong with the fields that nodes check while they index. Each message is a server's.

use super::{Format, Method, SplitError, SplitRequest, request, split};
use crate::document::{Checks, Embedder};
use crate::document::{Lacking, no_vectors};

fn checks(embedders: &[(&str, usize, bool)]) -> Checks {
    let embedder = |(name, dimensions, is_user_provided): &(&str, usize, bool)| Embedder {
        name: (*name).into(),
        dimensions: Some(*dimensions),
        is_user_provided: *is_user_provided,
    };
    Checks { embedders: embedders.iter().map(embedder).collect(), ..Checks::default() }
}

/// The error of a document whose `_vectors` are these, as its task shows it; none: it is taken.
fn of_vectors(vectors: &str, checks: &Checks) -> Option<(String, String)> {
    let payload = format!("[{{\"id\":2,\"_vectors\":{vectors}}}]");
    match split(payload.as_bytes(), Format::Json, &SplitRequest { checks, ..request("id") }) {
        Ok(_) => None,
        Err(SplitError::Document(error)) => {
            let body = error.task_body("i");
            Some((body.code, body.message))
        }
        Err(error) => panic!("{vectors}: {error}"),
    }
}

#[test]
fn vectors_that_cannot_be_stored_fail_without_an_embedder() {
    let bad = "Index `i`: Bad embedder configuration in the document with id: `2`. ";
    let expected = "Expected `._vectors.e` to be an array of floats, an array of arrays of floats, or an object with at least the field `regenerate`, but got the ";
    for (vectors, code, message) in [
        ("null", "internal", "Index `i`: invalid type: null, expected a map at line 1 column 4".to_owned()),
        ("[0.1, 0.2]", "internal", "Index `i`: invalid type: sequence, expected a map at line 1 column 0".into()),
        ("\"x\"", "internal", "Index `i`: invalid type: string \"x\", expected a map at line 1 column 3".into()),
        ("3", "internal", "Index `i`: invalid type: integer `3`, expected a map at line 1 column 1".into()),
        ("true", "internal", "Index `i`: invalid type: boolean `true`, expected a map at line 1 column 4".into()),
        ("{\"e\":\"text\"}", "invalid_vectors_type", format!("{bad}{expected}string `text`")),
        ("{\"e\":-1}", "invalid_vectors_type", format!("{bad}{expected}integer `-1`")),
        ("{\"e\":1.5}", "invalid_vectors_type", format!("{bad}{expected}number `1.5`")),
        ("{\"e\":true}", "invalid_vectors_type", format!("{bad}{expected}boolean `true`")),
        (
            "{\"e\":{\"regenerate\": \"x\"}}",
            "invalid_vectors_type",
            format!(
                "{bad}Could not parse `._vectors.e.regenerate`: invalid type: string \"x\", expected a boolean at line 1 column 18"
            ),
        ),
        (
            "{\"e\":{\"regenerate\": true, \"z\": 1}}",
            "invalid_vectors_type",
            format!("{bad}Could not parse `._vectors.e`: trailing characters at line 1 column 25"),
        ),
        (
            "{\"e\":{\"embeddings\":[1]}}",
            "invalid_vectors_type",
            format!(
                "{bad}Missing field `._vectors.e.regenerate`\n  - note: `._vectors.e` must be an array of floats, an array of arrays of floats, or an object with field `regenerate`"
            ),
        ),
    ] {
        assert_eq!(of_vectors(vectors, &Checks::default()), Some((code.into(), message)), "{vectors}");
    }
    for vectors in [
        "{}",
        "{\"e\":null}",
        "{\"e\":[]}",
        "{\"e\":[[]]}",
        "{\"e\":[1,\"a\"]}",
        "{\"e\":{\"regenerate\":false}}",
        "{\"e\":{\"regenerate\":false,\"embeddings\":\"x\"}}",
        "{\"e\":{\"regenerate\":true,\"embeddings\":null}}",
    ] {
        assert_eq!(of_vectors(vectors, &Checks::default()), None, "{vectors}");
    }
}

#[test]
fn vectors_have_to_fit_the_embedder() {
    let checks = checks(&[("e", 3, true)]);
    let wrong = |rest: &str| {
        let bad =
            "Index `i`: Bad embedder configuration in the document with id: `2`. Invalid value type at `._vectors.e";
        ("invalid_vectors_type".to_owned(), format!("{bad}{rest}"))
    };
    let length = |embedding: usize, found: usize| {
        let message = format!(
            "Index `i`: Invalid vector dimensions in document with id `2` in `._vectors.e`.\n  - note: embedding #{embedding} has dimensions {found}\n  - note: embedder `e` requires 3"
        );
        ("invalid_vector_dimensions".to_owned(), message)
    };
    for (vectors, error) in [
        ("[1, \"a\"]", wrong("[1]`: expected a number, but found a string: `\"a\"`")),
        ("[\"a\"]", wrong("[0]`: expected a number or an array, but found a string: `\"a\"`")),
        ("[[1,2,3],2]", wrong("[1]`: expected an array, but found a positive integer: `2`")),
        ("[[1,2,3],[\"x\"]]", wrong("[1][0]`: expected a number, but found a string: `\"x\"`")),
        ("[1,null,3]", wrong("[1]`: expected a number, but found null")),
        (
            "{\"regenerate\":false,\"embeddings\":\"x\"}",
            wrong(".embeddings`: expected null or an array, but found a string: `\"x\"`"),
        ),
        ("[1,2]", length(0, 2)),
        ("[[1,2,3],[1]]", length(1, 1)),
        ("[[]]", length(0, 0)),
        ("{\"regenerate\":true,\"embeddings\":[1]}", length(0, 1)),
    ] {
        assert_eq!(of_vectors(&format!("{{\"e\":{vectors}}}"), &checks), Some(error), "{vectors}");
    }
    for vectors in [
        "null",
        "[]",
        "[1,-2,3.5e-1]",
        "[[1,2,3],[4,5,6]]",
        "{\"regenerate\":false}",
        "{\"regenerate\":false,\"embeddings\":null}",
        "{\"regenerate\":true,\"embeddings\":[1,2,3]}",
    ] {
        assert_eq!(of_vectors(&format!("{{\"e\":{vectors}}}"), &checks), None, "{vectors}");
    }
}

/// The ids of documents that have to be stored already.
fn lacking(payload: &str, method: Method, checks: &Checks) -> Result<Vec<String>, String> {
    match split(payload.as_bytes(), Format::Json, &SplitRequest { checks, method, ..request("id") }) {
        Ok(split) => Ok(split.lacking.into_iter().map(|lacking| lacking.id).collect()),
        Err(error) => Err(error.body().code),
    }
}

#[test]
fn documents_without_vectors_have_to_be_stored_already() {
    let (provided, made) = (checks(&[("e", 1, true)]), checks(&[("e", 1, false)]));
    let payload = r#"[{"id":1,"_vectors":{"e":[1]}},{"id":2},{"id":3,"_vectors":{}},{"id":4,"_vectors":{"e":null}},{"id":5,"_vectors":{"f":[1]}}]"#;
    assert_eq!(lacking(payload, Method::Replace, &provided), Ok(vec!["2".into(), "3".into(), "5".into()]));
    assert_eq!(lacking(payload, Method::Replace, &made), Ok(vec![]));
    let twice = r#"[{"id":1,"_vectors":{"e":[1]}},{"id":1,"a":2}]"#;
    assert_eq!(lacking(twice, Method::Replace, &provided), Ok(vec!["1".into()]));
    assert_eq!(lacking(twice, Method::Update, &provided), Ok(vec![]));
    let anew = r#"[{"id":1,"_vectors":{"e":{"regenerate":true}}}]"#;
    assert_eq!(lacking(anew, Method::Update, &provided), Ok(vec!["1".into()]));
    assert_eq!(lacking(anew, Method::Update, &made), Ok(vec![]));
    let late = r#"[{"id":1,"_vectors":{"e":[1,2]}},{"id":1,"_vectors":{"e":[1]}}]"#;
    assert_eq!(lacking(late, Method::Replace, &provided), Ok(vec![]), "a later document takes its place");
}

#[test]
fn where_documents_are_not_created_what_is_in_them_is_left_to_nodes() {
    let checks = checks(&[("e", 1, true)]);
    let payload = br#"[{"id":1,"_vectors":[1]},{"id":2}]"#;
    let split = split(payload, Format::Json, &SplitRequest { checks: &checks, skips_creation: true, ..request("id") });
    assert_eq!(split.map(|split| (split.received, split.lacking)), Ok((2, vec![])));
}

#[test]
fn the_error_names_the_first_and_counts_the_others() {
    let of = |id: &str, embedder: &str| Lacking { id: id.into(), embedder: embedder.into() };
    let error = no_vectors(&[of("1", "e"), of("2", "e"), of("3", "f")]).expect("an error").task_body("i");
    assert_eq!(error.code, "vector_embedding_error");
    assert_eq!(
        error.message,
        "Index `i`: While embedding documents for embedder `e`: no vectors provided for document `1` and at least 1 other document(s)\n- Note: `e` has `source: userProvided`, so documents must provide embeddings as an array in `_vectors.e`.\n- Hint: opt-out for a document with `_vectors.e: null`"
    );
    assert_eq!(no_vectors(&[]), None);
}

#[test]
fn geometries_are_checked_once_they_are_filterable() {
    let checks = Checks { geojson: true, ..Checks::default() };
    let error = |geojson: &str, checks: &Checks| {
        let payload = format!("[{{\"id\":1,\"_geojson\":{geojson}}}]");
        let split = split(payload.as_bytes(), Format::Json, &SplitRequest { checks, ..request("id") });
        split.err().map(|error| (error.body().code, error.body().message))
    };
    for (geojson, message) in [
        ("null", "Expected an owned Object, but got `null`"),
        ("\"x\"", "Expected an owned Object, but got `\"x\"`"),
        ("{}", "Encountered an unknown 'geometry' object type: `type`"),
        ("{\"type\":\"Point\",\"coordinates\":[1]}", "A position must contain two or more elements, but got `1`"),
        ("{\"type\":\"Point\",\"coordinates\":[\"a\",1]}", "Expected a floating-point value, but got None"),
        (
            "{\"type\":\"Feature\",\"geometry\":null,\"properties\":null}",
            "Attempted to a convert a feature without a geometry into a geo_types::Geometry: `{\"type\":\"Feature\",\"geometry\":null,\"properties\":null}`",
        ),
    ] {
        assert_eq!(error(geojson, &checks), Some(("invalid_document_geo_field".into(), message.into())), "{geojson}");
        assert_eq!(error(geojson, &Checks::default()), None);
    }
    for sound in ["{\"type\":\"Point\",\"coordinates\":[1,2]}", "{\"type\":\"FeatureCollection\",\"features\":[]}"] {
        assert_eq!(error(sound, &checks), None, "{sound}");
    }
}
