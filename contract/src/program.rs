//! What every program does alike: what it prints, how it ends, how it is interrupted.

pub mod commands;
pub mod exit;
pub mod interrupt;
pub mod output;
pub mod threads;
pub mod words;
