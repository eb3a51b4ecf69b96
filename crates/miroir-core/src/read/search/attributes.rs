//! Which attributes nodes return, given what the client asked for and what the index displays.
//!
//! Nodes display everything, so `displayedAttributes` is enforced here, as Meilisearch does it: an attribute asked for is
//! returned when the list of displayed attributes has that very name. Asking for `a.b` where `a` is displayed returns
//! nothing, and so does asking for `a` where `a.b` is displayed.

use std::borrow::Cow;

use super::{IndexView, SearchRequest};
use crate::base::inert::SHARD_FIELD;

/// Whether the attribute `outer` is `inner` or contains it.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The attributes asked for that are displayed; `*` asks for all of them.
pub(super) fn narrow<'a>(asked: &'a [String], displayed: &'a [String]) -> Vec<Cow<'a, str>> {
    if asked.iter().any(|name| name == "*") {
        return displayed.iter().map(|name| Cow::Borrowed(name.as_str())).collect();
    }
    asked.iter().filter(|name| displayed.contains(name)).map(|name| Cow::Borrowed(name.as_str())).collect()
}

/// Likewise for attributes that may carry a length, as in `name:5` and `*:5`.
pub(super) fn narrow_crops<'a>(asked: &'a [String], displayed: &'a [String]) -> Vec<Cow<'a, str>> {
    let mut crops = Vec::with_capacity(asked.len());
    for crop in asked {
        let (name, length) = crop_parts(crop);
        if name == "*" {
            crops.extend(displayed.iter().map(|name| Cow::Owned(format!("{name}{length}"))));
        } else if displayed.iter().any(|known| known == name) {
            crops.push(Cow::Borrowed(crop.as_str()));
        }
    }
    crops
}

/// `name:5` as `name` and `:5`.
fn crop_parts(crop: &str) -> (&str, &str) {
    crop.rfind(':').and_then(|colon| crop.split_at_checked(colon)).unwrap_or((crop, ""))
}

/// The list for `attributesToRetrieve`; `None` for everything.
pub(super) fn retrieved_from_nodes<'a>(request: &'a SearchRequest, index: &IndexView<'a>) -> Option<Vec<Cow<'a, str>>> {
    let mut attributes = asked_for(request, index)?;
    attributes.extend(fetched(request, index).map(Cow::Borrowed));
    Some(attributes)
}

/// What of the attributes that the client asks for is displayed and not ours; `None` for everything.
pub(crate) fn asked_for<'a>(request: &'a SearchRequest, index: &IndexView<'a>) -> Option<Vec<Cow<'a, str>>> {
    let asked = request.retrieve.as_deref().filter(|asked| !asked.iter().any(|name| name == "*"));
    let mut attributes: Vec<Cow<'a, str>> = match (asked, index.displayed) {
        (None, None) => return None,
        (Some(asked), None) => asked.iter().map(|name| Cow::Borrowed(name.as_str())).collect(),
        (None, Some(displayed)) => displayed.iter().map(|name| Cow::Borrowed(name.as_str())).collect(),
        (Some(asked), Some(displayed)) => narrow(asked, displayed),
    };
    attributes.retain(|name| name != SHARD_FIELD);
    Some(attributes)
}

/// The attributes that nodes return only because the merge has to read them.
pub(crate) fn fetched<'a>(request: &'a SearchRequest, index: &IndexView<'a>) -> impl Iterator<Item = &'a str> {
    let read = [request.distinct(index), index.pins.map(|pins| pins.primary_key)];
    let asked = read.iter().any(Option::is_some).then(|| asked_for(request, index)).flatten();
    let is_missing = move |name: &&str| asked.as_ref().is_some_and(|asked| !asked.iter().any(|one| covers(one, name)));
    read.into_iter().flatten().filter(is_missing)
}

/// The attributes that `_formatted` holds whether or not they are retrieved; `None` for everything.
pub(crate) fn formatted<'a>(request: &'a SearchRequest, index: &IndexView<'a>) -> Option<Vec<Cow<'a, str>>> {
    let highlighted = request.highlight.as_deref().unwrap_or_default();
    let cropped: Vec<&str> =
        request.crop.as_deref().unwrap_or_default().iter().map(|crop| crop_parts(crop).0).collect();
    let everything = highlighted.iter().any(|name| name == "*") || cropped.contains(&"*");
    let is_shown = |name: &str| index.displayed.is_none_or(|displayed| displayed.iter().any(|known| known == name));
    match (everything, index.displayed) {
        (true, None) => None,
        (true, Some(displayed)) => Some(displayed.iter().map(|name| Cow::Borrowed(name.as_str())).collect()),
        (false, _) => Some(
            highlighted
                .iter()
                .map(String::as_str)
                .chain(cropped)
                .filter(|name| is_shown(name))
                .map(Cow::Borrowed)
                .collect(),
        ),
    }
}
