//! What operators see of the work.

/// Is told how the work stands. Kinds are those that were registered: few, and of no client's choice.
pub trait Observer: Send + Sync + 'static {
    /// So many jobs of this kind are open.
    fn queue_depth(&self, kind: &'static str, open: usize);
    /// So many scopes of this kind are led here.
    fn leads(&self, kind: &'static str, scopes: usize);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn queue_depth(&self, _: &'static str, _: usize) {}
    fn leads(&self, _: &'static str, _: usize) {}
}
