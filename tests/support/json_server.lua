--- A server that answers each path with one JSON text: what model servers say beside their API.
---
---     local server <close> = json_server.start({ ["/props"] = { n_ctx = 4096 } })
---     ... server.url, server.seen() ...
local json = require("agenthost.json")

local M = {}

local PROGRAM <const> = [[
import http.server, json, sys
answers = json.loads(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = answers.get(self.path)
        print(self.command, self.path, flush=True)
        body = json.dumps(answer if answer is not None else {"error": "not found"}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
]]

local function quote(s)
  return "'" .. s:gsub("'", [['\'']]) .. "'"
end

---@param answers table<string, table> path -> what is answered
---@return table server url, seen() -> list of "GET /path"; ends with `<close>`
function M.start(answers)
  local log = os.tmpname()
  local pipe = assert(io.popen(("echo $$; exec timeout 60 python3 -S -c %s %s > %s"):format(
    quote(PROGRAM), quote(json.encode(answers)), quote(log))))
  local pid = assert(pipe:read("n"))
  local port
  for _ = 1, 1000 do
    local file <close> = io.open(log)
    port = file and file:read("l")
    if port then
      break
    end
    os.execute("sleep 0.02")
  end
  assert(port, "the server does not start")
  return setmetatable({
    url = "http://127.0.0.1:" .. port,
    seen = function()
      local lines = {}
      for line in io.lines(log) do
        lines[#lines + 1] = line
      end
      return table.move(lines, 2, #lines, 1, {})
    end,
  }, { __close = function()
    os.execute("kill -TERM " .. pid) -- timeout passes it on
    pipe:close()
    os.remove(log)
  end })
end

return M
