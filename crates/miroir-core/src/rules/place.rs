//! Where pins stand in a merged list.

use std::collections::VecDeque;

/// A pinned hit on its way.
#[derive(Debug)]
pub(crate) struct Pinned<T> {
    /// Its place in the order of pins.
    pub order: usize,
    /// Where it is to stand.
    pub position: u32,
    /// The hit.
    pub hit: T,
}

/// Pins that wait for their position.
#[derive(Debug)]
pub(crate) struct Queue<T>(VecDeque<Pinned<T>>);

impl<T> Queue<T> {
    /// By position, those of one position in the order of rules.
    pub fn new(mut pins: Vec<Pinned<T>>) -> Self {
        pins.sort_by_key(|pin| (pin.position, pin.order));
        Self(pins.into())
    }

    /// The pin that stands at `rank`, if one does. When there is nothing else to stand there, one does for as long as
    /// there are any.
    pub fn at(&mut self, rank: usize, has_others: bool) -> Option<T> {
        let due = self.0.front().is_some_and(|pin| pin.position as usize <= rank || !has_others);
        if due { self.0.pop_front().map(|pin| pin.hit) } else { None }
    }
}
