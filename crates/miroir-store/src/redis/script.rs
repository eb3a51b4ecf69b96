//! The scripts, which make several commands one: nobody sees a half of what they do.

use std::sync::LazyLock;

use redis::{Cmd, Script, Value, cmd};

use super::failure::{self, Failure};
use super::pool::Pool;
use crate::StoreError;

/// A script by its text, and the name that Redis has for it.
pub(super) struct Stored {
    text: &'static str,
    hash: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = [$($file:literal),*];)*) => {
        $($(#[$doc])*
        pub(super) static $name: LazyLock<Stored> =
            LazyLock::new(|| Stored::new(concat!(include_str!("lua/head.lua"), $(include_str!(concat!("lua/", $file))),*)));)*
    };
}

scripts! {
    COMMIT = ["leases_of.lua", "tasks.lua", "change.lua", "commit.lua"];
    LIST = ["list.lua"];
    TASK = ["tasks.lua", "task.lua"];
    PAGE = ["tasks.lua", "find.lua", "page.lua"];
    UNSETTLED = ["tasks.lua", "unsettled.lua"];
    DELETE = ["tasks.lua", "find.lua", "change.lua", "delete.lua"];
    PRUNE = ["tasks.lua", "find.lua", "change.lua", "prune.lua"];
    ACQUIRE = ["acquire.lua"];
    RENEW = ["leases_of.lua", "renew.lua"];
    RELEASE = ["leases_of.lua", "release.lua"];
    LEASES = ["leases.lua"];
    /// Each leads from one schema to the next, and is never changed once released.
    SCHEMA_1 = ["schema_1.lua", "migrate.lua"];
}

impl Stored {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }

    /// A call of this script; its first argument is the prefix of the keys.
    pub(super) fn call(&'static self, prefix: &str) -> Call {
        let mut by_hash = cmd("EVALSHA");
        by_hash.arg(&self.hash).arg(0).arg(prefix);
        Call { script: self, command: by_hash }
    }
}

/// A script with its arguments.
pub(super) struct Call {
    script: &'static Stored,
    command: Cmd,
}

impl Call {
    pub(super) fn arg(&mut self, argument: impl redis::ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Run it; what was written stays written when the answer is lost.
    pub(super) async fn run(&self, pool: &Pool) -> Result<Value, StoreError> {
        match pool.call(&self.command).await {
            Err(error) if is_unknown(&error) => pool.call(&self.whole()).await,
            answered => answered,
        }
    }

    /// Run one that only reads, a second time if the first was lost.
    pub(super) async fn read(&self, pool: &Pool) -> Result<Value, StoreError> {
        match pool.ask(&self.command).await {
            Err(error) if is_unknown(&error) => pool.ask(&self.whole()).await,
            answered => answered,
        }
    }

    /// The same with the text of the script, after which Redis knows it.
    fn whole(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script.text);
        for argument in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// Redis does not know the script: it was restarted, or never told.
fn is_unknown(error: &StoreError) -> bool {
    matches!(failure::of(error), Some(Failure::Unknown { .. }))
}
