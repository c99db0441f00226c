-- Four bytes in a row that only a fuzzer which sees Lua code finds soon: a test of the harness, see
-- tests/fuzz/README.md.
return function(bytes)
  local a, b, c, d = bytes:byte(1, 4)
  if a == 0x66 and b == 0x75 and c == 0x7A and d == 0x21 then
    error("found the planted bug")
  end
end
