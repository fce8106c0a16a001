//! The libraries that scripts have besides those of Lua.

use super::check;

#[test]
fn bits() {
    for (script, reply) in [
        ("return {bit.tobit(0xffffffff), bit.bnot(0), bit.bswap(1)}", "[-1 -1 16777216]"),
        ("return {bit.band(7, 3, 2), bit.bor(1, 2, 4), bit.bxor(5, 1)}", "[2 7 4]"),
        (
            "return {bit.lshift(1, 33), bit.rshift(-1, 28), bit.arshift(-8, 1), bit.rol(1, 31), bit.ror(1, 1)}",
            "[2 15 -4 -2147483648 -2147483648]",
        ),
        (
            "return {bit.tohex(255), bit.tohex(255, 2), bit.tohex(-1, -3), bit.tohex(1, 100)}",
            "['000000ff' 'ff' 'FFF' '00000001']",
        ),
        (
            "return bit.band()",
            "ERR user_script:1: bad argument #1 to 'band' (number expected, got no value)..",
        ),
    ] {
        check(script, reply);
    }
}

#[test]
fn json() {
    for (script, reply) in [
        (
            "return cjson.encode({1, 2.5, 'a/b', {}, {k=true}, cjson.null})",
            "'[1,2.5,\"a\\\\/b\",{},{\"k\":true},null]'",
        ),
        ("return cjson.encode({[1]=1, [3]=3})", "'[1,null,3]'"),
        (
            "return cjson.encode({[1]=1, [30]=3})",
            "ERR user_script:1: Cannot serialise table: excessively sparse array..",
        ),
        ("cjson.encode_sparse_array(true) return cjson.encode({[30]=3})", "'{\"30\":3}'"),
        ("return cjson.encode(0/0)", "ERR user_script:1: Cannot serialise number: must not be NaN or Inf.."),
        ("cjson.encode_invalid_numbers('null') return cjson.encode(1/0)", "'null'"),
        (
            "return cjson.encode({[{}]=1})",
            "ERR user_script:1: Cannot serialise table: table key must be a number or string..",
        ),
        (
            "local t = {} for i = 1, 1001 do t = {t} end return cjson.encode(t)",
            "ERR user_script:1: Cannot serialise, excessive nesting (1001)..",
        ),
        ("return cjson.decode('[1, -2.5e1, \"\\\\u00e9\\\\n\", null, true]')[2]", "-25"),
        ("return cjson.decode('\"\\\\ud83d\\\\ude00\"')", "'\\xf0\\x9f\\x98\\x80'"),
        ("return cjson.decode('{\"a\":{\"b\":[1]}}').a.b[1]", "1"),
        (
            "return cjson.decode('[1')",
            "ERR user_script:1: Expected comma or array end but found T_END at character 3..",
        ),
        (
            "return cjson.decode('{1:2}')",
            "ERR user_script:1: Expected object key string but found T_NUMBER at character 2..",
        ),
        (
            "return cjson.decode('nul')",
            "ERR user_script:1: Expected value but found invalid token at character 1..",
        ),
        (
            "return cjson.decode('\"a')",
            "ERR user_script:1: Expected value but found unexpected end of string at character 3..",
        ),
        (
            "return cjson.decode(string.rep('[', 1001))",
            "ERR user_script:1: Found too many nested data structures (1001) at character 1001..",
        ),
        ("return tostring(cjson.decode('0x10'))", "'16'"),
        ("return {cjson.encode_max_depth(5), cjson.encode_max_depth()}", "[5 5]"),
        (
            "return cjson.encode_number_precision(15)",
            "ERR user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)..",
        ),
        (
            "local ok, err = pcall(cjson.decode, '[') return {ok, err}",
            "[nil 'Expected value but found T_END at character 2']",
        ),
    ] {
        check(script, reply);
    }
}

#[test]
fn message_pack() {
    for (script, reply) in [
        (
            "return cmsgpack.pack(1, -1, 200, -200, 'a', true, nil)",
            "'\\x01\\xff\\xcc\\xc8\\xd1\\xff8\\xa1a\\xc3\\xc0'",
        ),
        ("return cmsgpack.pack({1, {a=1.5}})", "'\\x92\\x01\\x81\\xa1a\\xca?\\xc0\\x00\\x00'"),
        ("return cmsgpack.pack(0.1)", "'\\xcb?\\xb9\\x99\\x99\\x99\\x99\\x99\\x9a'"),
        (
            "return {cmsgpack.unpack(cmsgpack.pack(1, {2, 3}, 'x', -70000, 4294967296))}",
            "[1 [2 3] 'x' -70000 4294967296]",
        ),
        ("return {cmsgpack.unpack_one(cmsgpack.pack(1, 2))}", "[1 1]"),
        ("return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 1)}", "[-1 2 3]"),
        ("return cmsgpack.unpack('\\155\\1')", "ERR user_script:1: Missing bytes in input..."),
        ("return cmsgpack.unpack('\\193')", "ERR user_script:1: Bad data format in input..."),
        ("return cmsgpack.unpack('\\129\\192\\1')", "ERR user_script:1: table index is nil.."),
        (
            "return cmsgpack.pack()",
            "ERR user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)..",
        ),
        ("local t = {} for i = 1, 20 do t = {t} end return #cmsgpack.pack(t)", "17"),
    ] {
        check(script, reply);
    }
}

#[test]
fn structs() {
    for (script, reply) in [
        ("return struct.pack('>I2hs', 1, -2, 'abc')", "'\\x00\\x01\\xff\\xfeabc\\x00'"),
        ("return {struct.unpack('>I2hs', struct.pack('>I2hs', 1, -2, 'abc'))}", "[1 -2 'abc' 9]"),
        ("return {struct.unpack('<dfb', struct.pack('<dfb', 2, 4, -1))}", "[2 4 -1 14]"),
        ("return {struct.unpack('Bc0', struct.pack('Bc0', 3, 'abc'))}", "['abc' 5]"),
        ("return struct.size('!8bi8')", "16"),
        (
            "return struct.size('s')",
            "ERR user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)..",
        ),
        ("return struct.pack('i33', 1)", "ERR user_script:1: integral size 33 is larger than limit of 32.."),
        ("return struct.pack('!3', 1)", "ERR user_script:1: alignment 3 is not a power of 2.."),
        (
            "return struct.pack('y', 1)",
            "ERR user_script:1: bad argument #1 to 'pack' (invalid format option 'y')..",
        ),
        (
            "return struct.unpack('I4', 'abc')",
            "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)..",
        ),
        (
            "return struct.unpack('b', 'abc', -1)",
            "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)..",
        ),
    ] {
        check(script, reply);
    }
}
