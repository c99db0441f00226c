-- HTTP/2, which Node serves: left out with a word where Node or openssl is missing.
local async = require("agenthost.async")
local http = require("agenthost.http")
local temp = require("support.temp")

local SERVER <const> = [==[
const pem = require("fs").readFileSync(process.argv[2])
const server = require("http2").createSecureServer({ key: pem, cert: pem, allowHTTP1: true })
const parent = process.ppid
let sessions = 0
server.on("session", () => sessions++)
server.on("request", (request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" })
    for (let i = 0; i < 1000; i++) response.write(`data: ${i}\n\n`)
    response.end()
  } else if (request.url === "/open") {
    response.writeHead(200)
    response.write("x")
  } else {
    let length = 0
    request.on("data", (bytes) => { length += bytes.length })
    request.on("end", () => response.end(`${request.httpVersion} ${sessions} ${length}`))
  }
})
server.listen(0, "127.0.0.1", () => console.log(server.address().port))
setInterval(() => { if (process.ppid !== parent) process.exit() }, 200)
process.on("SIGTERM", () => process.exit())
]==]

local function has(command)
  return os.execute("command -v " .. command .. " >/dev/null 2>&1") == true
end

describe("agenthost.http over HTTP/2", function()
  local directory, server, pid, base, ca

  setup(function()
    if not has("node") or not has("openssl") then
      return
    end
    directory = temp.directory()
    ca = directory .. "/both.pem"
    assert(os.execute(("cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "
      .. "/CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem "
      .. ">/dev/null 2>&1 && cat key.pem cert.pem > both.pem"):format(directory)))
    local file <close> = assert(io.open(directory .. "/server.js", "w"))
    file:write(SERVER)
    file:close()
    server = assert(io.popen(("echo $$; exec node %s/server.js %s"):format(directory, ca)))
    pid = server:read("l")
    base = "https://127.0.0.1:" .. assert(server:read("l"))
  end)

  teardown(function()
    if server then
      os.execute("kill " .. pid)
      server:close()
      temp.remove(directory)
    end
  end)

  local function with_server(name, fn)
    it(name, function()
      if not server then
        return pending("no node, or no openssl")
      end
      async.run(fn)
    end)
  end

  local function get(path, body)
    return assert(http.request({ url = base .. path, ca_file = ca, body = body }))
  end

  with_server("is used where the server has it, on one connection from call to call", function()
    assert.equal("2.0 1 0", get("/").body)
    assert.equal("2.0 1 0", get("/").body)
    assert.equal("2.0 1 300000", get("/", ("x"):rep(300000)).body)
  end)

  with_server("gives events and kept bytes", function()
    local stream <close> = assert(http.stream({
      url = base .. "/events", ca_file = ca, keep = true,
    }))
    local count = 0
    for event in stream:events() do
      assert.equal(tostring(count), event.data)
      count = count + 1
    end
    assert.is_nil(stream:error())
    assert.equal(1000, count)
    assert.equal(10890, #stream:kept())
  end)

  with_server("ends one stream without the others on its connection", function()
    local open = assert(http.stream({ url = base .. "/open", ca_file = ca }))
    assert.equal("x", open:read())
    open:close()
    assert.matches("^2%.0 ", get("/").body)
  end)
end)
