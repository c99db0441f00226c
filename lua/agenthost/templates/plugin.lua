-- A plugin: tools, commands and parts of the prompt that belong together.
--   agenthost test: runs my_plugin_test.lua
--   agenthost check my_plugin.lua: says what is wrong with it
-- To use it name the file in the agent's `plugins`: "./my_plugin.lua", or with options
-- { "./my_plugin.lua", max = 5 }. See `agenthost help plugins`.
local option_check = require("agenthost.options")

return {
  name = "my_plugin",

  -- Called once for each agent. `ctx` is where everything is added; `options` is what stands beside
  -- the name in `plugins`.
  setup = function(ctx, options)
    option_check.check(options, { "max" }, -1) -- an unknown option is an error that names it
    local max = options.max or 20
    local notes = {} -- this agent's; nothing is shared with others

    ctx.tool({
      name = "remember",
      description = ("Remember a short fact for later in this session. At most %d are kept.")
        :format(max),
      input = { fact = "string: one sentence" },
      permission = "none", -- it touches nothing that needs a word
      run = function(input)
        if #notes >= max then
          return nil, ("there is room for %d facts only"):format(max) -- the model is told
        end
        notes[#notes + 1] = input.fact
        return ("Remembered; %d so far."):format(#notes)
      end,
    })

    ctx.tool({
      name = "recall",
      description = "List the facts that were remembered in this session, oldest first.",
      permission = "none",
      run = function()
        return #notes > 0 and table.concat(notes, "\n") or "Nothing was remembered."
      end,
    })

    -- Behind the agent's own system prompt.
    ctx.prompt({ source = "my_plugin", text = "Use `remember` for what the user wants kept." })
  end,
}
