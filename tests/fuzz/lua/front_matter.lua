-- agenthost.front_matter, and the skill around it: fields of text or a message with its line; what
-- stands behind the head is not looked at; values written in quotes come back the same.
local front_matter = require("agenthost.front_matter")
local kit = require("kit")
local skills = require("agenthost.skills")
local text = require("agenthost.text")

local ESCAPED <const> = { ["\n"] = "\\n", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- The same fields as a head that is written in one way only.
local function written(fields)
  local lines = { "---" }
  for name, value in pairs(fields) do
    lines[#lines + 1] = ('%s: "%s"'):format(name, value:gsub('[\n\t"\\]', ESCAPED))
  end
  return table.concat(lines, "\n") .. "\n---\n"
end

local function check_head(clean)
  local fields, rest = front_matter.parse(clean)
  if not fields then
    kit.message(rest)
    kit.expect(rest:find("^line %d+: "), "the message names no line: %s", rest)
    return
  end
  kit.expect(clean:sub(#clean - #rest + 1) == rest, "the rest is not the end of the text")
  for name, value in pairs(fields) do
    kit.expect(type(value) == "string" and name:find("^[%w_-]+$"), "field %q", name)
  end
  local head = clean:sub(1, #clean - #rest)
  local again, body = front_matter.parse((head:gsub("\n?$", "\n", 1)) .. "---\n\t\xFF'\n")
  kit.expect(kit.same(again, fields) and body == "---\n\t\xFF'\n", "the body changes the fields")
  again, body = front_matter.parse(written(fields))
  kit.expect(kit.same(again, fields) and body == "", "written again it is another: %s", body)
end

return function(bytes)
  local skill, message = skills.parse(bytes)
  if skill then
    kit.message(skill.name)
    kit.expect(text.clean(skill.description) == skill.description, "an unclean description")
  else
    kit.message(message)
  end
  check_head((text.clean(bytes)))
end
