--- Agent Skills: a catalogue in the system prompt, and the tool `skill` that reads one. Without any
--- skills there is neither.
local options = require("agenthost.options")
local skills = require("agenthost.skills")

local function names_of(found)
  local names = {}
  for i, skill in ipairs(found) do
    names[i] = skill.name
  end
  return table.concat(names, ", ")
end

return {
  name = "skills",
  setup = function(ctx, given)
    options.check(given, {}, -1)
    local found, notes = skills.find(ctx.cwd)
    for _, note in ipairs(notes) do
      ctx.note(note)
    end
    if #found == 0 then
      return
    end
    ctx.prompt({ source = "the plugin skills", text = skills.catalogue(found) })
    ctx.tool({
      name = "skill",
      description = "Read a skill: its instructions and the list of its files. With file: one of "
        .. "these files.",
      input = {
        name = "string: as in the list of skills",
        file = "string?: one of the skill's files, relative to its folder",
      },
      summary = function(input)
        return input.name .. (input.file and " " .. input.file or "")
      end,
      run = function(input)
        local skill = skills.is_name(input.name) and found[input.name]
        if not skill then
          error("there is no such skill; there are: " .. names_of(found), 0)
        end
        return skills.read(skill, input.file)
      end,
    })
  end,
}
