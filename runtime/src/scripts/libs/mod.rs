//! The libraries that Redis gives scripts besides those of Lua. Each is written anew here, to behave as those of Redis do: the
//! same bytes, the same limits, the same error texts.

mod bit;
mod cjson;
pub(super) mod cmsgpack;
mod structs;

pub(super) use cjson::Config as JsonConfig;

use super::lua::Stack;
use super::sandbox::set_functions;

/// Sets the libraries as globals.
pub(super) fn register(stack: &mut Stack<'_>) {
    stack.push_globals();
    let libraries = [
        ("bit", bit::FUNCTIONS),
        ("cjson", cjson::FUNCTIONS),
        ("cmsgpack", cmsgpack::FUNCTIONS),
        ("struct", structs::FUNCTIONS),
    ];
    for (name, functions) in libraries {
        stack.new_table(0, functions.len() + 4);
        set_functions(stack, functions);
        match name {
            "cjson" => cjson::set_constants(stack),
            "cmsgpack" => cmsgpack::set_constants(stack),
            _ => {}
        }
        stack.raw_set_field(-2, name);
    }
    stack.set_top(0);
}
