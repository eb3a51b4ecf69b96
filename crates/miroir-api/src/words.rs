//! Lists of words: enumerations that grow from release to release.

/// An enumeration that is written as one of its words. A word of a newer release is read as `Other`, which the OpenAPI
/// document leaves out.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
            /// A word that this release does not know.
            Other(String),
        }

        impl $name {
            /// As it stands in JSON.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)+
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let about = concat!($($about, "\n",)+ $("\n- `", $word, "`:", $($doc,)+)+);
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(about.trim_start()))
                    .enum_values(Some([$($word),+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use crate::NodeState;

    #[test]
    fn a_word_is_read_as_it_is_written_and_a_new_one_is_kept() {
        for (state, word) in [(NodeState::Failed, "\"failed\""), (NodeState::Other("asleep".into()), "\"asleep\"")] {
            assert_eq!(serde_json::to_string(&state).expect("JSON"), word);
            assert_eq!(serde_json::from_str::<NodeState>(word).expect("a state"), state);
        }
    }

    #[test]
    fn the_schema_lists_the_known_words_with_their_meaning() {
        let schema = serde_json::to_value(NodeState::schema()).expect("JSON");
        assert_eq!(schema["type"], "string");
        assert_eq!(schema["enum"][0], "healthy");
        assert_eq!(schema["enum"].as_array().map(Vec::len), Some(5));
        assert!(schema["description"].as_str().is_some_and(|text| text.contains("\n- `healthy`: It answers.")));
    }
}
