--- What most specs need: directories that go away, and errors as values.
local sys = require("agenthost.sys")

local M = {}

function M.quote(s)
  return "'" .. s:gsub("'", [['\'']]) .. "'"
end

--- A new directory, without links in its path. The caller removes it.
---@return string path
function M.directory()
  local path = "/tmp/ah-spec-" .. sys.random_hex(8)
  assert(sys.mkdir_private(path))
  return assert(sys.realpath(path))
end

function M.remove(path)
  assert(path:find("^/.*/.")) -- never "/" or ""
  assert(os.execute("rm -rf " .. M.quote(path)))
end

--- Writes a file, and the directories above it.
---@return string path
function M.write(path, content)
  assert(sys.mkdir_private(path:match("^(.*)/")))
  assert(sys.write_file(path, content))
  return path
end

--- The error that fn raises, as it is.
function M.raised(fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then
    error("no error was raised", 2)
  end
  return err
end

return M
