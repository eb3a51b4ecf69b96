//! Changes of settings that nodes spoil, reject, or miss.
