--- Every bound and default in one place. To change one for yourself, copy this file to
--- ~/.config/agenthost/lua/agenthost/defaults.lua and edit it there.
local defaults = {}

--- Commands. Times in seconds, sizes in bytes.
defaults.task = {
  timeout = 300, -- a command is ended after this, unless the call says otherwise
  grace = 5, -- between TERM and KILL
  max_output = 256 * 1024 * 1024, -- on disk; then the command is ended
  max_running = 64, -- at once; the others are queued
  -- Set for every command that the model runs; false takes a variable away.
  env = {
    PAGER = "cat",
    GIT_PAGER = "cat",
    MANPAGER = "cat",
    GIT_TERMINAL_PROMPT = "0",
    DEBIAN_FRONTEND = "noninteractive",
    PYTHONUNBUFFERED = "1",
    TERM = "dumb",
  },
}

--- The tools of the built-in plugins.
defaults.bash = {
  background_after = 120, -- a foreground command goes on in the background after this
  timeout = 600, -- a foreground command is ended after this, wherever it runs by then
}
defaults.background = {
  ready_timeout = 60, -- seconds that background_run waits for a server to be ready
  wait = 60, -- seconds that background_wait waits
}
defaults.files = {
  max_read = 8 * 1024 * 1024, -- bytes of a file that read_file opens
}

--- Watching a task's output (monitor) and waiting for a server to be ready. Times in seconds.
defaults.watch = {
  interval = 0.1, -- between looks whether a server is ready
  batch = 0.2, -- lines that come within this are one notice
  flood = 100, -- lines a second; more of them stop the monitor
  bytes = 65536, -- of output that one look takes in
}

--- Text that reaches the model, in characters.
defaults.text = {
  result = 50000, -- of a tool's result; head and tail are kept
  notice = 2000, -- of a task's output in a notice; the end is kept
  listing = 200, -- tasks that check_background lists
}

--- One run of the agent.
defaults.run = {
  max_turns = 200, -- model calls
  max_tokens = 16000, -- of a reply
  max_pauses = 5, -- replies in a row that end with pause_turn
}

--- Sessions on disk. Times in seconds.
defaults.session = {
  max_bytes = 1 << 30, -- of a session file that is opened
  max_count = 100000, -- sessions that are looked at
  listing = 50, -- sessions that are listed, the newest ones
  lock_patience = 0.5, -- how long a session that another host holds is tried
  settle = 4, -- how long a dead host's supervisor may take to note the ends of its tasks
  watch = 0.5, -- between looks at tasks that have outlived their host
  table = 20, -- tasks that the model is told of when a session is resumed
  recap = 6, -- messages that are shown when a session is resumed
}

--- Model calls. Times in seconds.
defaults.http = {
  connect_timeout = 10,
  stall_timeout = 120, -- without a byte
  timeout = 3600, -- for a whole call
}
defaults.retry = {
  tries = 4, -- calls in all
  first_delay = 0.5,
  max_delay = 8,
  max_retry_after = 60, -- a server that asks for more is an error
}

--- The model when a key is set and nothing names one.
defaults.model = "claude-sonnet-5-5"

--- Where a local model server is looked for when nothing is configured, and for how long.
defaults.local_servers = { "http://127.0.0.1:8080", "http://127.0.0.1:11434" } -- llama.cpp, Ollama
defaults.local_server_timeout = 0.1

--- Headless runs: how long `-p` waits for background tasks that owe a notice.
defaults.wait_tasks = 600

--- With a prompt on the command line: how long standard input may stay silent, in seconds.
defaults.stdin_patience = 3

--- Environment variables that no command may see: shell patterns. They are taken out of the
--- environment at start; os.getenv and sys.getenv still give them to Lua.
defaults.secret_env = {
  "*_API_KEY",
  "*_AUTH_TOKEN",
  "ANTHROPIC_CUSTOM_HEADERS",
}

return defaults
