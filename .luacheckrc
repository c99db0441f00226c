std = "lua54"
max_line_length = 100
exclude_files = { "build*/", "lua/agenthost/_meta/" }
files["tests/spec"] = { std = "lua54+busted" }
files["tests/e2e"] = { std = "lua54+busted" }
files["tests/stress"] = { std = "lua54+busted" }
files["**/*_test.lua"] = { std = "lua54+busted" } -- of users: agenthost test
