--- The user's own editor, for a message.
local defaults = require("agenthost.defaults")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")

local M = {}

-- What the terminal sends to everybody on it: in there it is meant for the editor. (SIGWINCH the
-- line editor asks about by itself.)
local FOR_THE_EDITOR <const> = { INT = true, QUIT = true, TSTP = true, WINCH = true }

local function command_line(path)
  local words = {}
  local program = "vi"
  for _, name in ipairs({ "EDITOR", "VISUAL" }) do
    local value = sys.getenv(name) or ""
    program = value:find("%S") and value or program
  end
  for word in program:gmatch("%S+") do
    words[#words + 1] = word
  end
  words[#words + 1] = path
  return words
end

-- Drops the signals that came meanwhile, but those that are for us.
local function drop_signals()
  local ours = {}
  for name in reactor.take_signal do
    if not FOR_THE_EDITOR[name] then
      ours[#ours + 1] = name
    end
  end
  return ours
end

--- Lets the user write a text in $VISUAL, $EDITOR or vi. The terminal has to be as it is for other
--- programs. Nothing else goes on meanwhile but tasks.
---@param draft string
---@param dir string where the file is meanwhile
---@return string? written nil and a message when there is none
---@return string? message
---@return string[] signals that came meanwhile and are not the editor's: "TERM", "HUP"
function M.write(draft, dir)
  local path = ("%s/message-%s.md"):format(dir, sys.random_hex(4))
  local ok, message = sys.mkdir_private(dir)
  if ok then
    ok, message = sys.write_file(path, draft)
  end
  if not ok then
    return nil, message, {}
  end
  local code, why = sys.run_in_terminal(command_line(path))
  local signals = drop_signals()
  local written, size = sys.read_file(path, defaults.attach.max_bytes)
  os.remove(path)
  if code ~= 0 then
    return nil, why or ("the editor ended with %d: nothing was sent"):format(code), signals
  elseif not written then
    return nil, size, signals
  elseif size > defaults.attach.max_bytes then
    return nil, ("it is longer than %d bytes (defaults.attach.max_bytes): nothing was sent")
      :format(defaults.attach.max_bytes), signals
  end
  return written, nil, signals
end

return M
