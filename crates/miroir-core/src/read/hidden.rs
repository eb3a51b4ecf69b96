//! Attributes that an index does not display, in the words of a refusal. Nodes display all of them to Miroir and hence
//! list them all; one server names those that it displays and says that there are others.

/// Before a list of attributes, what follows it, and what is said in place of both when nothing is left of the list;
/// nothing when an empty list is shown.
const LISTS: [(&str, &str, Option<&str>); 4] = [
    (
        "cannot be used as distinct attribute. Available filterable attributes patterns are: `",
        "`.",
        Some("cannot be used as distinct attribute. This index does not have configured filterable attributes."),
    ),
    (
        " is not sortable. Available sortable attributes are: `",
        "`.",
        Some(" is not sortable. This index does not have configured sortable attributes."),
    ),
    (
        " is not facet-searchable. Available facet-searchable attributes patterns are: `",
        "`.",
        Some(" is not facet-searchable. This index does not have configured facet-searchable attributes."),
    ),
    (" is not searchable. Available searchable attributes are: `", "`.", None),
];

/// A node's error text of this code as if the node displayed these attributes alone. Only searches hide attributes: other
/// refusals are as they were.
pub fn message(text: &str, code: &str, displayed: &[String]) -> String {
    if !code.starts_with("invalid_search_") && !code.starts_with("invalid_facet_search_") {
        return text.to_owned();
    }
    let list = LISTS.iter().find_map(|(lead, end, empty)| {
        let (before, rest) = text.split_once(lead)?;
        let (listed, after) = rest.split_once(end)?;
        Some((before, lead, listed, end, after, empty))
    });
    let Some((before, lead, listed, end, after, empty)) = list else { return text.to_owned() };
    let names: Vec<&str> = listed.split(", ").filter(|name| !name.is_empty()).collect();
    let shown: Vec<&str> =
        names.iter().copied().filter(|name| displayed.iter().any(|displayed| displayed == name)).collect();
    match empty {
        Some(empty) if shown.is_empty() => format!("{before}{empty}{after}"),
        Some(_) | None => {
            let others = if shown.len() < names.len() { ", <..hidden-attributes>" } else { "" };
            format!("{before}{lead}{}{others}{end}{after}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, code: &str) -> String {
        message(text, code, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn searches_name_displayed_attributes_only() {
        let sort = |rest: &str| format!("Attribute `z` is not sortable. {rest}");
        assert_eq!(
            shown(&sort("Available sortable attributes are: `a, b, c, d`."), "invalid_search_sort"),
            sort("Available sortable attributes are: `a, b, <..hidden-attributes>`.")
        );
        assert_eq!(
            shown(&sort("Available sortable attributes are: `c`."), "invalid_search_sort"),
            sort("This index does not have configured sortable attributes.")
        );
        assert_eq!(
            shown(
                "Attribute `z` is not facet-searchable. Available facet-searchable attributes patterns are: `c`. To make it so.",
                "invalid_facet_search_facet_name"
            ),
            "Attribute `z` is not facet-searchable. This index does not have configured facet-searchable attributes. To make it so."
        );
        assert_eq!(
            shown(
                "Attribute `z` is not searchable. Available searchable attributes are: `c`.",
                "invalid_search_attributes_to_search_on"
            ),
            "Attribute `z` is not searchable. Available searchable attributes are: `, <..hidden-attributes>`."
        );
    }

    #[test]
    fn what_is_displayed_or_no_search_stays() {
        let sort = "Attribute `z` is not sortable. Available sortable attributes are: `a, c`.";
        assert_eq!(shown(sort, "invalid_document_sort"), sort);
        let whole = "Attribute `z` is not sortable. Available sortable attributes are: `a, b`.";
        assert_eq!(shown(whole, "invalid_search_sort"), whole);
        let facets = "Invalid facet distribution: Attribute `z` is not filterable. Available filterable attributes patterns are: `c`.";
        assert_eq!(shown(facets, "invalid_search_facets"), facets);
    }
}
