local async = require("agenthost.async")
local http = require("agenthost.http")
local sys = require("agenthost.sys")
local temp = require("support.temp")

-- A server in a child. It says its ports on its first line and ends at /quit or with its parent.
local SERVER <const> = [==[
import gzip, http.server, json, os, ssl, sys, threading, time

parent = os.getppid()
barrier = threading.Barrier(2)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self, pieces, end=True, headers=()):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.chunk(piece)
        if end:
            self.chunk(b"")
        else:
            self.close_connection = True

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = self.path
        if path == "/quit":
            self.answer(200, b"")
            os._exit(0)
        elif path == "/echo":
            told = {"method": self.command, "body": body.hex(), "headers": dict(self.headers)}
            self.answer(200, json.dumps(told).encode(), [("X-Two", "a"), ("X-Two", "b")])
        elif path == "/redirect":
            self.answer(302, b"", [("Location", "/moved")])
        elif path == "/missing":
            self.answer(404, b'{"error":"no"}')
        elif path == "/binary":
            self.answer(200, bytes(range(256)) * 4096)
        elif path == "/bomb":
            self.answer(200, gzip.compress(bytes(50000000)), [("Content-Encoding", "gzip")])
        elif path == "/barrier":
            barrier.wait(20)
            self.answer(200, b"both")
        elif path == "/silent":
            self.rfile.read(1)
        elif path == "/events":
            self.stream([b": hello\n\nevent: a\nda", b"ta: 1\ndata: 2\nid: 7\n\ndata:",
                         b"3\r\n\r\n", b"data: lost"])
        elif path == "/broken":
            self.stream([b"data: 1\n\n", b"data: 2\n\n"], end=False)
        elif path == "/open":
            self.stream([b"data: 1\n\n"], end=False)
            self.rfile.read(1)
        elif path == "/bytes":
            self.stream(b"%d," % i for i in range(20000))
        elif path == "/byte-event":
            self.stream([b"data: "] + [b"x"] * 20000 + [b"\n\n"])
        else:
            self.answer(200, path.encode())

    do_GET = do_POST = do_DELETE = do_HEAD = handle_any

def serve(context=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]

ports = [serve()]
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    ports.append(serve(context))
print(*ports, flush=True)
while os.getppid() == parent:
    time.sleep(0.2)
]==]

local server, base, tls_base, script, certificate

local function write_temporary(text)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
  return path
end

local function make_certificate()
  local path = os.tmpname()
  local ok = os.execute(
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
      .. "-addext subjectAltName=IP:127.0.0.1 -keyout "
      .. path
      .. " -out "
      .. path
      .. ".crt >/dev/null 2>&1 && cat "
      .. path
      .. ".crt >> "
      .. path
  )
  os.remove(path .. ".crt")
  return ok and path or nil
end

-- Runs fn as the main job and gives back its results.
local function inside(fn)
  return async.run(fn)
end

describe("agenthost.http", function()
  setup(function()
    script = write_temporary(SERVER)
    certificate = make_certificate()
    server = assert(io.popen("exec python3 " .. script .. " " .. (certificate or "")))
    local port, tls_port = server:read("l"):match("(%d+) ?(%d*)")
    base = "http://127.0.0.1:" .. port
    tls_base = "https://127.0.0.1:" .. tls_port
  end)

  teardown(function()
    http.request({ url = base .. "/quit" })
    server:close()
    os.remove(script)
    if certificate then
      os.remove(certificate)
    end
  end)

  describe("request", function()
    it("gives status, headers, body and url", function()
      local response = assert(http.request({ url = base .. "/x?y=1" }))
      assert.same({ 200, "/x?y=1", base .. "/x?y=1" }, {
        response.status,
        response.body,
        response.url,
      })
      assert.equal("6", response.headers["content-length"])
    end)

    it("sends method, headers and body, and joins headers that come twice", function()
      local response = assert(http.request({
        url = base .. "/echo",
        headers = { ["X-Key"] = "k\u{e9}", Accept = "a/b" },
        body = "a\0b",
      }))
      assert.equal("a, b", response.headers["x-two"])
      local told = require("cjson").decode(response.body)
      assert.equal("POST", told.method)
      assert.equal("610062", told.body)
      for wanted, parts in pairs({ ["610062"] = { "a", "", "\0b" }, [""] = {} }) do
        response = assert(http.request({ url = base .. "/echo", body = parts }))
        local heard = require("cjson").decode(response.body)
        assert.same({ "POST", wanted }, { heard.method, heard.body })
      end
      assert.equal("a/b", told.headers.Accept)
      assert.is_nil(told.headers.Expect)
    end)

    it("does not take an error status for a failure", function()
      local response = assert(http.request({ url = base .. "/missing", method = "DELETE" }))
      assert.equal(404, response.status)
      assert.equal('{"error":"no"}', response.body)
    end)

    it("follows redirects and says where it came to", function()
      local response = assert(http.request({ url = base .. "/redirect" }))
      assert.equal(base .. "/moved", response.url)
      response = assert(http.request({ url = base .. "/redirect", redirects = 0 }))
      assert.equal(302, response.status)
    end)

    it("gives bytes as they are", function()
      local response = assert(http.request({ url = base .. "/binary" }))
      local all = {}
      for i = 0, 255 do
        all[#all + 1] = string.char(i)
      end
      assert.is_true(response.body == table.concat(all):rep(4096))
    end)

    it("returns nil, message, code", function()
      local function code_of(options)
        local response, message, code = http.request(options)
        assert.is_nil(response)
        assert.is_string(message)
        assert.is_nil(message:find("\n"))
        assert.is_nil(message:find("hunter2"))
        return code
      end
      assert.equal("CONNECT", code_of({ url = "http://me:hunter2@127.0.0.1:1/" }))
      assert.equal("EINVAL", code_of({ url = "ftp://127.0.0.1/" }))
      assert.equal("EINVAL", code_of({ url = base, headers = { X = "hunter2\r\nY: 1" } }))
      assert.equal("EINVAL", code_of({ url = base, headers = { ["X: hunter2"] = "1" } }))
      assert.equal("TIMEOUT", code_of({ url = base .. "/silent", timeout = 0.1 }))
      assert.equal("TIMEOUT_STALL", code_of({ url = base .. "/silent", stall_timeout = 0.1 }))
      assert.equal("CLOSED", code_of({ url = base .. "/broken" }))
      assert.equal("TOO_LARGE", code_of({ url = base .. "/binary", max_body = 1000 }))
      assert.equal("TOO_LARGE", code_of({ url = base .. "/bomb", max_body = 1000000 }))
      assert.equal("TOO_LARGE", code_of({ url = base .. "/x", max_headers = 10 }))
    end)

    it("raises for wrong arguments, at the caller's line", function()
      local function raised(options)
        local ok, message = pcall(function()
          http.request(options)
        end)
        assert.is_false(ok)
        assert.truthy(message:find("http_spec.lua:%d+: "))
        return message
      end
      assert.truthy(raised({ url = base, time_out = 1 }):find("did you mean 'timeout'?", 1, true))
      assert.truthy(raised({}):find("option 'url' is missing", 1, true))
      assert.truthy(raised():find("option 'url' is missing", 1, true))
      assert.truthy(raised("x"):find("expected a table", 1, true))
      assert.truthy(raised({ url = base, body = 1 }):find("option 'body'", 1, true))
      assert.truthy(raised({ url = base, body = { "a", 1 } }):find("part 2 is a number", 1, true))
      assert.truthy(raised({ url = base, headers = "x" }):find("option 'headers'", 1, true))
      assert.truthy(raised({ url = base, headers = { "x" } }):find("names are strings", 1, true))
      assert.truthy(raised({ url = base, headers = { X = 1 } }):find("header 'X'", 1, true))
      assert.truthy(raised({ url = base, timeout = -1 }):find("option 'timeout'", 1, true))
      assert.truthy(raised({ url = base, max_body = 1.5 }):find("option 'max_body'", 1, true))
    end)

    it("verifies certificates, with ca_file as the authority", function()
      if not certificate then
        pending("no openssl command")
        return
      end
      local _, message, code = http.request({ url = tls_base .. "/x" })
      assert.equal("TLS", code)
      assert.truthy(message:find("ca_file", 1, true))
      local response = assert(http.request({ url = tls_base .. "/x", ca_file = certificate }))
      assert.equal("/x", response.body)
      _, _, code = http.request({
        url = tls_base:gsub("127.0.0.1", "localhost") .. "/x",
        ca_file = certificate,
      })
      assert.equal("TLS", code) -- another name than the certificate's
    end)

    it("takes SSL_CERT_FILE for the authority, which libcurl does not look for", function()
      if not certificate then
        pending("no openssl command")
        return
      end
      local asking = write_temporary([[
        local http = require("agenthost.http")
        local response, message = http.request({ url = arg[1], ca_file = arg[2] })
        print(response and response.body or message)
      ]])
      local function ask(file, ...)
        local pipe <close> = assert(io.popen(table.concat({ "SSL_CERT_FILE=" .. file,
          temp.quote(sys.realpath("/proc/self/exe")), asking, tls_base .. "/x", ... }, " ")))
        return pipe:read("a")
      end
      local trusted, other = ask(certificate), ask(certificate, "/dev/null")
      local missing = ask("/nowhere.pem")
      os.remove(asking)
      assert.equal("/x\n", trusted)
      assert.truthy(other:find("cannot be trusted", 1, true)) -- ca_file is stronger
      assert.truthy(missing:find("SSL_CERT_FILE or ca_file", 1, true))
    end)
  end)

  describe("stream", function()
    it("gives status and headers, then the body in pieces, then nil", function()
      local stream <close> = assert(http.stream({ url = base .. "/bytes" }))
      assert.equal(200, stream.status)
      assert.equal("text/event-stream", stream.headers["content-type"])
      assert.equal(base .. "/bytes", stream.url)
      assert.is_nil(stream.no_such_field)
      local parts = {}
      for bytes in stream.read, stream do
        parts[#parts + 1] = bytes
      end
      local body = table.concat(parts)
      assert.equal("0,1,2,", body:sub(1, 6))
      assert.equal("19999,", body:sub(-6))
      assert.is_nil(stream:read())
      assert.is_nil(stream:error())
    end)

    it("gives server-sent events", function()
      local stream <close> = assert(http.stream({ url = base .. "/events" }))
      assert.same({ event = "a", data = "1\n2", id = "7" }, stream:event())
      assert.same({ event = "message", data = "3", id = "7" }, stream:event())
      assert.is_nil(stream:event())
      assert.is_nil(stream:event())
      assert.has_error(function()
        stream:read()
      end)
    end)

    it("iterates over events and tells afterwards how it ended", function()
      local stream <close> = assert(http.stream({ url = base .. "/events" }))
      local seen = {}
      for event in stream:events() do
        seen[#seen + 1] = event.data
      end
      assert.same({ "1\n2", "3" }, seen)
      assert.equal(0, select("#", stream:error()))

      local broken <close> = assert(http.stream({ url = base .. "/broken" }))
      seen = {}
      for event in broken:events() do
        seen[#seen + 1] = event.data
      end
      assert.same({ "1", "2" }, seen)
      local message, code = broken:error()
      assert.truthy(message:find("in the middle of its answer", 1, true))
      assert.equal("CLOSED", code)
      local event, again, again_code = broken:event()
      assert.same({ nil, message, code }, { event, again, again_code })
      broken:close()
      assert.same({ message, code }, { broken:error() })
    end)

    it("keeps the bytes a second time, however they were read", function()
      local whole = ": hello\n\nevent: a\ndata: 1\ndata: 2\nid: 7\n\ndata:3\r\n\r\ndata: lost"
      local function open(path)
        return assert(http.stream({ url = base .. path, keep = true }))
      end
      local stream <close> = open("/events")
      local parts = {}
      for _ in stream:events() do
        parts[#parts + 1] = stream:kept()
      end
      parts[#parts + 1] = stream:kept()
      assert.equal(whole, table.concat(parts))
      local rest <close> = open("/events")
      assert.equal(whole, rest:rest())
      assert.same({ whole, "" }, { rest:kept(), rest:kept() })
      local broken <close> = open("/broken")
      broken:event()
      while broken:event() do end
      broken:close()
      assert.equal("data: 1\n\ndata: 2\n\n", broken:kept())
      local ok, message = pcall(function()
        http.stream({ url = base .. "/x" }):kept()
      end)
      assert.is_false(ok)
      assert.truthy(message:find("http_spec.lua:%d+: the stream keeps nothing"))
    end)

    it("bounds an event", function()
      local stream <close> = assert(http.stream({ url = base .. "/byte-event", max_event = 1000 }))
      local event, message, code = stream:event()
      assert.is_nil(event)
      assert.equal("TOO_LARGE", code)
      assert.truthy(message:find("1000 bytes (max_event)", 1, true))
      assert.same({ message, code }, { stream:error() })
    end)

    it("waits for many small pieces without using up the stack", function()
      local stream <close> = assert(http.stream({ url = base .. "/byte-event" }))
      assert.equal(("x"):rep(20000), stream:event().data)
    end)

    it("gives the rest of the body, cut", function()
      local stream <close> = assert(http.stream({ url = base .. "/missing" }))
      assert.equal(404, stream.status)
      assert.equal('{"err', stream:rest(5))
      assert.equal("or", stream:rest(2))
      assert.equal('":"no"}', stream:rest())
      assert.equal("", stream:rest())
      local long <close> = assert(http.stream({ url = base .. "/bytes" }))
      local first = long:read()
      assert.equal(108890, #first + #long:rest())
      local broken <close> = assert(http.stream({ url = base .. "/broken" }))
      assert.equal("data: 1\n", broken:rest(8))
      assert.equal("CLOSED", select(3, broken:rest()))
    end)

    it("returns nil, message, code when no answer comes", function()
      local stream, message, code = http.stream({ url = base .. "/silent", stall_timeout = 0.1 })
      assert.is_nil(stream)
      assert.truthy(message:find("for 0.1 s (stall_timeout)", 1, true))
      assert.equal("TIMEOUT_STALL", code)
      assert.equal("EINVAL", select(3, http.stream({ url = "nonsense" })))
    end)

    it("raises when it is closed", function()
      local stream = assert(http.stream({ url = base .. "/open" }))
      stream:close()
      stream:close()
      assert.equal(200, stream.status)
      assert.equal("agenthost.http.stream (closed)", tostring(stream))
      for _, name in ipairs({ "read", "rest", "event", "events" }) do
        local ok, message = pcall(function()
          stream[name](stream)
        end)
        assert.is_false(ok)
        assert.truthy(message:find("http_spec.lua:%d+: stream is closed$"))
      end
    end)

    it("may be forgotten in any state", function()
      for _, path in ipairs({ "/open", "/events", "/broken", "/binary" }) do
        assert(http.stream({ url = base .. path }))
        assert(http.stream({ url = base .. path })):read()
      end
      collectgarbage()
      collectgarbage()
      assert.equal(200, http.request({ url = base .. "/x" }).status)
    end)
  end)

  describe("inside async.run", function()
    it("waits for several answers at once", function()
      local jobs = inside(function()
        local one = function()
          return assert(http.request({ url = base .. "/barrier" })).body
        end
        return async.all({ one, one })
      end)
      assert.same({ "both", "both" }, { jobs[1].results[2], jobs[2].results[2] })
    end)

    it("reads events across yields", function()
      inside(function()
        local stream <close> = assert(http.stream({ url = base .. "/byte-event" }))
        local seen = 0
        for event in stream:events() do
          seen = seen + #event.data
        end
        assert.equal(20000, seen)
        local rest <close> = assert(http.stream({ url = base .. "/bytes" }))
        assert.equal(108890, #rest:rest())
      end)
    end)

    it("raises the reason of a cancellation out of the wait", function()
      local function cancelled(fn)
        local job = async.spawn(fn)
        async.sleep(0.05)
        job:cancel("enough")
        local ok, reason = pcall(job.wait, job)
        assert.same({ false, "enough" }, { ok, reason })
      end
      inside(function()
        cancelled(function()
          http.request({ url = base .. "/silent" })
        end)
        cancelled(function()
          http.stream({ url = base .. "/silent" })
        end)
        cancelled(function()
          local stream <close> = assert(http.stream({ url = base .. "/open" }))
          stream:event()
          stream:event()
        end)
        assert.equal(200, http.request({ url = base .. "/x" }).status)
      end)
    end)

    -- The quickest of a few tries counts: the machine may stand still for longer than it takes.
    it("ends a cancelled wait at once, wherever it is", function()
      local waits = {
        function() http.request({ url = base .. "/silent" }) end,
        function()
          local stream <close> = assert(http.stream({ url = base .. "/open" }))
          stream:event()
          stream:event()
        end,
      }
      for _, wait in ipairs(waits) do
        local least = math.huge
        for _ = 1, 5 do
          inside(function()
            local job = async.spawn(wait)
            async.sleep(0.03)
            local begin = sys.now()
            job:cancel("enough")
            pcall(job.wait, job)
            least = math.min(least, sys.now() - begin)
          end)
        end
        assert.is_true(least < 0.05, least .. " s")
      end
    end)

    it("wakes a reader when another job closes the stream", function()
      inside(function()
        local stream = assert(http.stream({ url = base .. "/open" }))
        local reader = async.spawn(function()
          stream:event()
          return table.pack(stream:event())
        end)
        async.sleep(0.05)
        stream:close()
        local results = reader:wait()
        assert.is_nil(results[1])
        assert.equal("CLOSED", results[3])
      end)
    end)
  end)
end)
