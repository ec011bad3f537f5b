//! The languages without an SDK.

/// A language whose plugins are made of a source file and a world of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// By componentize-py.
    Python,
    /// By componentize-js.
    JavaScript,
    /// By clang.
    C,
}

impl Foreign {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::JavaScript, Self::C];

    /// The name on a command line and of folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::C => "c",
        }
    }

    /// The source file.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Python => "plugin.py",
            Self::JavaScript => "plugin.js",
            Self::C => "plugin.c",
        }
    }
}
