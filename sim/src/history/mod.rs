//! What clients asked and were told, and whether it can all be true.
