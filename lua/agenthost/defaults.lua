--- Every bound and default in one place. To change one for yourself, write a file
--- ~/.config/agenthost/lua/agenthost/defaults.lua that returns what differs:
--- `return { run = { max_turns = 50 } }`.
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
    GIT_EDITOR = "true", -- messages stay as they are; one that git would ask for is empty
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
  settle = 0.2, -- seconds that a task gets to begin before a list shows it as queued
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
  line = 1000, -- characters of a line that are told
}

--- Background tasks that seem to wait for an answer: see question.lua.
defaults.question = {
  silent = 15, -- seconds without output behind a question; math.huge: nothing is told
  line = 400, -- bytes of the last line that are looked at
}

--- Text that reaches the model, in characters.
defaults.text = {
  result = 50000, -- of a tool's result; head and tail are kept
  shown = 20000, -- of what /output and /last show
  notice = 2000, -- of a task's output in a notice; the end is kept
  listing = 200, -- tasks that check_background lists
  problem = 2000, -- of what is wrong with an input: one line
}

--- AGENTS.md and CLAUDE.md in the system prompt, in bytes.
defaults.instructions = {
  max_file = 32 * 1024, -- of one file
  max_total = 64 * 1024, -- of all of them
}

--- Plugins, and what is looked at to reload them.
defaults.plugin = {
  max_file = 1024 * 1024, -- bytes of one file of Lua or of a prompt
  max_state = 256 * 1024, -- bytes of ctx.state as JSON
  max_plugins = 200, -- of one agent, with those that plugins have added
  max_timers = 100, -- of one plugin
  min_timer = 0.05, -- seconds
  setup = 60, -- seconds that its setup, save, restore, teardown or end of a session may wait
  teardown = 5, -- seconds that jobs of an unloaded plugin may take to end
  max_overrides = 1000, -- Lua files below ~/.config/agenthost/lua that are looked at
  max_edited = 1000, -- files whose editing by the model is remembered
}

--- Tools that are Lua functions. Times in seconds.
defaults.tool = {
  timeout = 3600, -- one call, unless the tool says otherwise
  grace = 5, -- that a call which is stopped may take to clean up
  max_background = 64, -- calls of tools with `background = true` that run at once
}

--- Agent Skills.
defaults.skills = {
  max = 100, -- skills in the catalogue
  max_folders = 1000, -- looked at in one directory of skills
  max_file = 256 * 1024, -- bytes of a file that are read
  description = 1024, -- characters of one in the catalogue
  catalogue = 16 * 1024, -- bytes of descriptions; of further skills only the names are told
  depth = 4, -- levels of folders in a skill that are listed
  files = 200, -- of a skill that are listed
}

--- What the interactive program shows.
defaults.ui = {
  markdown = true, -- replies are Markdown; false: their text as it is
  error = 4000, -- characters of an error message
  leave_grace = 2, -- seconds that what does not stop gets when the user leaves
  notices = 10, -- of one delivery that get a line each
  processes = 20000, -- that are looked at for the ports of tasks
  descriptors = 1024, -- of one of them
}
defaults.markdown = {
  piece = 65536, -- bytes of a list, table, paragraph or code block that are formatted as one
}

--- One run of the agent.
defaults.run = {
  max_turns = 200, -- model calls
  max_tokens = 16000, -- of a reply
  max_pauses = 5, -- replies in a row that end with pause_turn
}

--- Files that go along with a message (@path).
defaults.attach = {
  max_bytes = 5 * 1024 * 1024, -- of one file
  max_files = 20,
  candidates = 200, -- that Tab offers
}

--- Notices that reach an idle agent. Times in seconds.
defaults.wake = {
  merge = 2, -- notices with the policy "merge" that come within this are one run
  max_runs = 25, -- in a row without a word of the user's; then notices wait for one
}

--- Compaction: what happens when a conversation comes near the model's context window. Shares are
--- of the tokens that a prompt may have.
defaults.compaction = {
  smallest = 2000, -- tokens; what is shorter is never compacted by itself
  at = 0.8, -- share at which it happens
  target = 0.5, -- share at which short results are enough
  growth = 0.1, -- share that has to come before it happens again
  keep_turns = 6, -- newest turns that stay as they are,
  keep_share = 0.25, -- as far as they are no more than this share; at least one
  result = 2000, -- bytes of an old result that may stay
  result_kept = 600, -- characters that a longer one keeps, beginning and end
  request = 8000, -- characters of the user's last request that stay beside the summary
  summary_tokens = 8000, -- of a summary
  summary_tries = 3, -- when the conversation is too long to be summed up: each with half as much
  transcript_result = 2000, -- characters of a result that the one who sums up sees
  transcript_call = 1000, -- and of the input of a tool call
  tries = 3, -- prompts in a row that do not fit
}

--- Sessions on disk. Times in seconds.
defaults.session = {
  max_bytes = 1 << 30, -- of a session file that is opened
  max_count = 100000, -- sessions that are looked at
  listing = 50, -- sessions that are listed, the newest ones
  lock_patience = 0.5, -- how long a session that another host holds is tried
  settle = 4, -- how long a dead host's supervisor may take to note the ends of its tasks
  watch = 0.5, -- between looks at tasks that have outlived their host
  notices = 100, -- of plugins, that were not told, when a session is resumed; the newest ones
  table = 20, -- tasks that the model is told of when a session is resumed
  recap = 6, -- messages that are shown when a session is resumed
}

--- Model calls. Times in seconds.
defaults.http = {
  connect_timeout = 10,
  stall_timeout = 120, -- without a byte
  timeout = 3600, -- for a whole call
}
-- Questions beside the calls: which models there are, how much fits into one.
defaults.ask = {
  timeout = 5,
  max_body = 8 * 1024 * 1024, -- bytes of an answer
}
defaults.retry = {
  tries = 4, -- calls in all
  first_delay = 0.5,
  max_delay = 8,
  max_retry_after = 60, -- a server that asks for more is an error
  max_elapsed = 600, -- from the first failure to the last try
}

--- Tokens of a model of which neither its server nor model_table.lua says anything.
defaults.limits = {
  context_window = 128000,
  max_output = 16000,
}
--- Where prompt and reply together come near the context window the reply may be shorter than it
--- was asked for.
defaults.reply = {
  smallest = 1024, -- tokens; no less is asked for
  margin = 0.05, -- share of the window that stays free: prompts are estimated
}

--- The model when a key is set and nothing names one.
defaults.model = "claude-sonnet-5-5"

--- The same for OPENAI_API_KEY.
defaults.openai_model = "gpt-5.1"

--- The tokens that Ollama lets a prompt have unless the model or the server says otherwise.
defaults.ollama_context = 4096

--- Where the local servers are: llamacpp, and ollama unless OLLAMA_HOST says otherwise.
defaults.llamacpp_url = "http://127.0.0.1:8080"
defaults.ollama_url = "http://127.0.0.1:11434"

--- Where a local model server is looked for when nothing is configured, and for how long.
defaults.local_servers = { "http://127.0.0.1:8080", "http://127.0.0.1:11434" } -- llama.cpp, Ollama
defaults.local_server_timeout = 0.1

--- Headless runs: how long `-p` waits for background tasks that owe a notice, and for the ends of
--- those that it has ended then.
defaults.wait_tasks = 600
defaults.wait_ended = 30

--- With a prompt on the command line: how long standard input may stay silent, in seconds.
defaults.stdin_patience = 3

--- Permissions: what is read of a command before it counts as not understood, and what is shown.
defaults.permission = {
  max_command = 65536, -- bytes
  max_commands = 1000, -- simple commands in one command line
  max_depth = 20, -- substitutions inside one another
  max_inside = 262144, -- bytes of commands inside commands, each read once for each level
  max_path = 4096, -- bytes; Linux opens no longer ones
  shown = 20000, -- bytes of a command that can be asked for; characters of an edit in a question
  denials = 100, -- refused calls that the result of a headless run lists
  -- Edits of these ask each time: what stands in them is run by others. Names at any depth.
  protected = { ".git", ".agenthost", ".envrc", ".vscode", ".idea" },
  -- Programs whose second word says what they do: "always" for one of these is a rule for both.
  subcommands = { "git", "npm", "cargo", "go", "docker", "kubectl", "pip", "apt", "make", "cmake" },
}

--- Standard input with --input-format stream-json.
defaults.input = {
  max_line = 32 * 1024 * 1024, -- bytes of one message
}

--- The settings file: how much of it is read, and how long it may take.
defaults.settings = {
  max_bytes = 262144,
  max_instructions = 1000000,
}

--- `agenthost test`. Times in seconds.
defaults.testing = {
  timeout = 30, -- of one test
  grace = 5, -- for what it leaves behind, and for a test that does not end when its time is over
  max_files = 1000, -- files of tests
  max_depth = 12, -- of folders that are searched for them
  max_entries = 100000, -- files and folders that are looked at
}

--- Code of plugins and scripts: what one call of it may take. See protect.lua.
defaults.guard = {
  seconds = 5, -- of Lua between two waits; then it is stopped with an error
  memory = 1024 * 1024 * 1024, -- bytes of the Lua state; AGENTHOST_MEMORY (in MiB) overrides it
  reserve = 64 * 1024 * 1024, -- bytes beyond that for agenthost itself, to go on and say so
  printed = 8192, -- bytes of a line that plugin code prints
  strikes = 3, -- failures in a row that switch a tool or handler off
}

--- Lua code of a project (.agenthost/), which is used when the user trusts it. See project.lua.
defaults.project = {
  max_files = 1000,
  max_bytes = 2 * 1024 * 1024, -- of all files
  max_depth = 8, -- levels of folders
  shown = 20, -- files that the question lists
}

--- Tools that the model makes (plugins/selfext).
defaults.selfext = {
  max_code = 16 * 1024, -- bytes of one; a question shows all of it (permission.shown)
  max_name = 40, -- characters
  max_tools = 100, -- of one project
}

--- Environment variables that no command may see: shell patterns. They are taken out of the
--- environment at start; os.getenv and sys.getenv still give them to Lua.
defaults.secret_env = {
  "*_API_KEY",
  "*_AUTH_TOKEN",
  "ANTHROPIC_CUSTOM_HEADERS",
}
--- The same for these when there is a password in them: http://user:password@host.
defaults.secret_url_env = { "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "OLLAMA_HOST" }

return defaults
