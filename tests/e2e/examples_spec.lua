--- Every example runs without a key and without a network.
local program = require("support.program")

local examples <const> = AGENTHOST_ROOT .. "/examples"
