//! Reads what the compiler made of nosplit.
