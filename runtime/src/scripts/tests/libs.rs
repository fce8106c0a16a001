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
            "local ok, err = pcall(struct.pack, '\\195\\169', 1) return err",
            r"'bad argument #1 to \'?\' (invalid format option \'\xc3\')'",
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

/// As the matcher of Lua 5.1 does it.
#[test]
fn patterns() {
    for (script, reply) in [
        ("return {string.find('hello world', 'o w')}", "[5 7]"),
        ("return {string.find('a.b', '.', 1, true)}", "[2 2]"),
        ("return {string.find('hello', 'l+')}", "[3 4]"),
        ("return {string.find('hello', '(l)(l)')}", "[3 4 'l' 'l']"),
        ("return {string.find('hello', '()ll()')}", "[3 4 3 5]"),
        ("return {string.find('hello', '')}", "[1 0]"),
        ("return {string.find('hello', '', 10)}", "[6 5]"),
        ("return {string.find('hello', 'l', -2)}", "[4 4]"),
        ("return {string.find('hello', '^l')}", "[]"),
        ("return {string.find('hello', 'o$')}", "[5 5]"),
        ("return {string.find('a$b', 'a$b')}", "[1 3]"),
        ("return {string.find('a\\0b', 'b')}", "[3 3]"),
        ("return {string.find('a\\0b', '%z')}", "[2 2]"),
        ("return {string.find('abc', 'b\\0x')}", "[]"),
        ("return {string.find('abc', 'b\\0(')}", "[2 2]"),
        ("return {('key = value'):match('^(%w+)%s*=%s*(%w+)$')}", "['key' 'value']"),
        ("return ('  trim '):match('^%s*(.-)%s*$')", "'trim'"),
        ("return ('2026-11-21'):match('%d+-(%d+)-%d+')", "'11'"),
        ("return ('f(a(b)c)d'):match('%b()')", "'(a(b)c)'"),
        ("return ('THE (quick) fox'):find('%f[%a]%a+%f[%A]', 5)", "6"),
        ("return ('aXb'):match('[^%l]')", "'X'"),
        ("return ('a]b'):match('[]]')", "']'"),
        ("return ('a-b'):match('[a%-]+')", "'a-'"),
        ("return ('x^y'):match('[y^]')", "'^'"),
        ("return ('abcabc'):match('(abc)%1')", "'abc'"),
        ("return ('aaa'):match('a-', 2)", "''"),
        ("return ('aaab'):match('a-b')", "'aaab'"),
        ("return ('ab'):match('ax?b')", "'ab'"),
        ("return ('\\11'):match('%s') == '\\11'", "1"),
        (
            "local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end return t",
            "['a1' 'b2']",
        ),
        ("local t = {} for p in ('abc'):gmatch('()') do t[#t + 1] = p end return t", "[1 2 3 4]"),
        ("local t = {} for w in ('^a^a'):gmatch('^a') do t[#t + 1] = w end return t", "['^a' '^a']"),
        ("return {('hello world'):gsub('o', '0')}", "['hell0 w0rld' 2]"),
        ("return {('hello world'):gsub('(%w+) (%w+)', '%2 %1')}", "['world hello' 1]"),
        ("return {('abc'):gsub('', '-')}", "['-a-b-c-' 4]"),
        ("return {('abc'):gsub('%w', '%0%0', 2)}", "['aabbc' 2]"),
        ("return {('abc'):gsub('b', '%%')}", "['a%c' 1]"),
        ("return {('abc'):gsub('^a', 'x')}", "['xbc' 1]"),
        ("return {('$name is $age'):gsub('%$(%w+)', {name = 'ada', age = 36})}", "['ada is 36' 2]"),
        ("return {('abc'):gsub('%w', function(c) if c ~= 'b' then return c:upper() end end)}", "['AbC' 3]"),
        ("return {('abc'):gsub('b', 7)}", "['a7c' 1]"),
        ("return {(123):rep(2)}", "ERR user_script:1: .."),
        ("return {string.gsub(123, 2, 'x')}", "['1x3' 1]"),
        ("return {('abc'):gsub('b', 'x', 0)}", "['abc' 0]"),
        ("return ('x'):rep(300):gsub('x', '%0%0'):len()", "600"),
        ("return ('abc'):gsub('b', '%2')", "ERR user_script:1: invalid capture index.."),
        ("return ('abc'):gsub('b', {b = {}})", "ERR user_script:1: invalid replacement value (a table).."),
        (
            "return ('abc'):gsub('b', true)",
            "ERR user_script:1: bad argument #2 to 'gsub' (string/function/table expected)..",
        ),
        (
            "return string.gsub('abc', 'b', nil)",
            "ERR user_script:1: bad argument #3 to 'gsub' (string/function/table expected)..",
        ),
        ("return ('abc'):gsub('b', function() error('inside') end)", "ERR user_script:1: inside.."),
        ("return ('a'):find('[a')", "ERR user_script:1: malformed pattern (missing ']').."),
        ("return ('a'):find('a%')", "ERR user_script:1: malformed pattern (ends with '%').."),
        ("return ('a'):find('%f')", "ERR user_script:1: missing '[' after '%f' in pattern.."),
        ("return ('a'):find('%b')", "ERR user_script:1: unbalanced pattern.."),
        ("return ('a'):find('(a')", "ERR user_script:1: unfinished capture.."),
        ("return ('a'):match('a)')", "ERR user_script:1: invalid pattern capture.."),
        ("return ('a'):find('%1')", "ERR user_script:1: invalid capture index.."),
        ("return ('a'):find(('()'):rep(33))", "ERR user_script:1: too many captures.."),
        ("return ('a'):rep(9000):find(('a?'):rep(9000))", "ERR user_script:1: pattern too complex.."),
        (
            "return string.find('a')",
            "ERR user_script:1: bad argument #2 to 'find' (string expected, got no value)..",
        ),
    ] {
        check(script, reply);
    }
}
