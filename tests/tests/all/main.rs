//! The one test binary of the product. `README.md` says how to run a part of it.

mod bounds;
mod processes;
mod random;
mod readme;
mod scripts;
mod story;
mod tidy;
