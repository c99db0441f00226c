--- `read_file`, `write_file` and `edit_file`, confined to the workspace: also against symbolic
--- links and `..`.
local defaults = require("agenthost.defaults")
local text = require("agenthost.text")
local words = require("agenthost.words")

-- The content and whether that is all of the file.
local function read(ctx, path)
  local content, size = ctx.root:read(path, defaults.files.max_read)
  if not content then
    error(size, 0)
  end
  return content, size <= #content
end

local function write(ctx, path, content)
  local ok, message = ctx.root:write(path, content)
  return ok or error(message, 0)
end

local function first_lines(content, limit)
  local at, lines = 1, 0
  while lines < limit do
    local stop = content:find("\n", at, true)
    if not stop then
      return content
    end
    at, lines = stop + 1, lines + 1
  end
  local _, left = content:sub(at):gsub("\n", "")
  left = left + (content:find("[^\n]$", at) and 1 or 0)
  if left == 0 then
    return content
  end
  return ("%s[... %s left out ...]"):format(content:sub(1, at - 1), words.number(left, "line"))
end

local function read_file(input, ctx)
  local content, whole = read(ctx, input.path)
  local _, info = text.clean(content)
  if info.binary then
    return ("[binary file: %d bytes]"):format(#content)
  elseif content == "" then
    return "(the file is empty)"
  end
  if not whole then
    content = ("%s\n[... only the first %d bytes of the file were read ...]"):format(content,
      #content)
  end
  return input.limit and first_lines(content, input.limit) or content
end

local function write_file(input, ctx)
  write(ctx, input.path, input.content)
  return ("Wrote %s to %s"):format(words.number(#input.content, "byte"), input.path)
end

-- Where `old` stands, and that it stands there only.
local function find_once(content, old, path)
  if old == "" then
    error("old_text is empty: name the text to replace", 0)
  end
  local from, to = content:find(old, 1, true)
  if not from then
    error(("old_text was not found in %s: it has to match exactly, white space included")
      :format(path), 0)
  end
  local count, at = 1, content:find(old, to + 1, true)
  while at do
    count, at = count + 1, content:find(old, at + #old, true)
  end
  if count > 1 then
    error(("old_text stands %d times in %s: add lines around it until it is the only one")
      :format(count, path), 0)
  end
  return from, to
end

local function edit_file(input, ctx)
  local content, whole = read(ctx, input.path)
  if not whole then
    error(("%s is too large to edit: more than %d bytes"):format(input.path, #content), 0)
  end
  local old, new = input.old_text, input.new_text
  if content:find("\r\n", 1, true) and not content:find(old, 1, true) then
    -- read_file shows plain line ends; the file keeps its own
    old, new = old:gsub("\r?\n", "\r\n"), new:gsub("\r?\n", "\r\n")
  end
  local from, to = find_once(content, old, input.path)
  write(ctx, input.path, content:sub(1, from - 1) .. new .. content:sub(to + 1))
  return "Edited " .. input.path
end

local function path_of(input)
  return input.path
end

-- Every line of a text with a sign in front.
local function marked(content, sign)
  return sign .. content:gsub("\n$", ""):gsub("\n", "\n" .. sign)
end

local function preview_write_file(input, ctx)
  local stat = ctx.root:stat(input.path)
  local head = stat and "replaces a file of " .. words.number(stat.size, "byte") or "a new file"
  return ("%s\n%s"):format(head, marked(input.content, "+ "))
end

local function preview_edit_file(input)
  return marked(input.old_text, "- ") .. "\n" .. marked(input.new_text, "+ ")
end

return {
  {
    name = "read_file",
    description = "Read a text file of the workspace.",
    input = {
      path = "string: relative to the working directory",
      limit = {
        type = "integer",
        minimum = 1,
        description = "only so many lines from the start",
        optional = true,
      },
    },
    summary = path_of,
    permission = "read",
    run = read_file,
  },
  {
    name = "write_file",
    description = "Write a file of the workspace; it is made, or replaced as a whole. Missing "
      .. "directories are made.",
    input = { path = "string: relative to the working directory", content = "string" },
    summary = path_of,
    permission = "edit",
    preview = preview_write_file,
    run = write_file,
  },
  {
    name = "edit_file",
    description = "Replace one piece of text in a file of the workspace. old_text has to stand in "
      .. "it exactly once.",
    input = {
      path = "string: relative to the working directory",
      old_text = "string: what is there now, exactly",
      new_text = "string: what is to be there",
    },
    summary = path_of,
    permission = "edit",
    preview = preview_edit_file,
    run = edit_file,
  },
}
