--- `@path` in what the user types: the file goes along with the message.
local base64 = require("agenthost.base64")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local IMAGE_TYPES <const> = {
  png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg", gif = "image/gif",
  webp = "image/webp",
}

local function image_block(path, bytes)
  local media_type = IMAGE_TYPES[(path:match("%.(%w+)$") or ""):lower()]
  return media_type and {
    type = "image",
    source = { type = "base64", media_type = media_type, data = base64.encode(bytes) },
  }
end

local function text_block(path, bytes)
  local clean, info = text.clean(bytes)
  if info.binary then
    return nil, "it is binary"
  end
  local shown = text.preview(clean, { max = defaults.text.result })
  return { type = "text", text = ("<file path=\"%s\">\n%s\n</file>"):format(
    text.escape(path):gsub('"', "&quot;"), shown) }
end

local function attach(path, cwd)
  local full = path:sub(1, 1) == "/" and path or cwd .. "/" .. path
  local stat = sys.stat(full)
  if not stat or stat.type ~= "file" then
    return nil -- "@" may stand for anything: a name, a decorator
  end
  local bytes, message = sys.read_file(full, defaults.attach.max_bytes)
  if not bytes then
    return nil, message
  elseif stat.size > #bytes then
    return nil, ("it is larger than %d bytes (defaults.attach.max_bytes)"):format(#bytes)
  end
  local image = image_block(path, bytes)
  if image then
    return image
  end
  return text_block(path, bytes)
end

--- The blocks of a message: its text, and a block for each file that it names as `@path`.
---@param said string
---@param cwd string where relative paths start
---@return table[] blocks
---@return string[] notes for the user: what was attached, what could not be
function M.blocks(said, cwd)
  local blocks, notes, seen = { { type = "text", text = said } }, {}, {}
  for path in (" " .. said):gmatch("%s@([^%s]+)") do
    path = path:gsub("[,;:!?)%]]+$", "")
    if not seen[path] and #seen < defaults.attach.max_files then
      seen[path] = true
      local block, message = attach(path, cwd)
      if block then
        table.insert(blocks, block)
        notes[#notes + 1] = ("attached %s"):format(path)
      elseif message then
        notes[#notes + 1] = ("%s is not attached: %s"):format(path, message)
      end
    end
  end
  return blocks, notes
end

return M
