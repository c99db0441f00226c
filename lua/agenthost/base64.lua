--- Base64 (RFC 4648), for bytes that are no text and have to go into JSON.
local M = {}

local ALPHABET <const> = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

---@param bytes string
---@return string
function M.encode(bytes)
  local out = {}
  for at = 1, #bytes, 3 do
    local a, b, c = bytes:byte(at, at + 2)
    local n = a << 16 | (b or 0) << 8 | (c or 0)
    local four = {}
    for i = 1, 4 do
      local index = n >> (24 - 6 * i) & 63
      four[i] = ALPHABET:sub(index + 1, index + 1)
    end
    four[3] = b and four[3] or "="
    four[4] = c and four[4] or "="
    out[#out + 1] = table.concat(four)
  end
  return table.concat(out)
end

---@param s string
---@return string? bytes nil when it is no Base64
function M.decode(s)
  if #s % 4 ~= 0 or not s:find("^[%w+/]*=?=?$") then
    return nil
  end
  local out = {}
  for four in s:gmatch("....") do
    local n, missing = 0, 0
    for char in four:gmatch(".") do
      local value = char == "=" and 0 or ALPHABET:find(char, 1, true) - 1
      missing = missing + (char == "=" and 1 or 0)
      n = n << 6 | value
    end
    out[#out + 1] = string.pack(">I3", n):sub(1, 3 - missing)
  end
  return table.concat(out)
end

return M
