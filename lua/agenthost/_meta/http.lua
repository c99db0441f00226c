---@meta agenthost.http

---HTTP and HTTPS requests, and streams of bytes or server-sent events. Implemented in
---src/lua/http.c and http_stream.c over libcurl (src/core/http.h).
---
---Inside `async.run` a call that waits lets the other jobs go on; outside it blocks. When the job is
---cancelled the reason is raised out of the wait; a request that was waited for is then closed.
---Connections are kept and used again, HTTP/2 is used over TLS where the server has it, proxies come
---from the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, also in lower case; HTTP_PROXY in upper case
---not for this machine), certificates are always verified, and compressed answers are unpacked.
---
---Durations are seconds, sizes are bytes. Wrong arguments raise an error at the caller's line. What
---can fail in normal use returns nil, a message and one of these codes; messages hold no header and
---no body of the request, so they can be shown and logged.
---
---@alias agenthost.http.Code
---| "EINVAL" # a URL, method or header that cannot be sent; line breaks in headers are refused
---| "RESOLVE" # the host name has no address
---| "CONNECT" # nobody listens there
---| "PROXY" # the proxy does not work or refused
---| "TLS" # no TLS, or a certificate that is not trusted
---| "TIMEOUT_CONNECT" # see connect_timeout
---| "TIMEOUT_STALL" # see stall_timeout
---| "TIMEOUT" # see timeout
---| "TOO_LARGE" # see max_body, max_headers, max_event
---| "CLOSED" # the connection ended before the answer did, or the stream was closed while it was read
---| "PROTOCOL" # the answer is not proper HTTP
---| "REDIRECT" # too many, or to somewhere that is not http:// or https://
---| "NOMEM" # out of memory
---| "FAILED" # anything else

---@class agenthost.http
local http = {}

---@class agenthost.http.Options
---@field url string  http:// or https://
---@field method? string  default "GET", or "POST" when there is a body
---@field headers? table<string, string>  names to values; Content-Length is set by itself
---@field body? string|string[]  or its parts: they are sent one behind the other
---@field timeout? number  for all of it, until the last byte; default 600 for request, math.huge for stream
---@field connect_timeout? number  for name look-up, connection and TLS; default 10
---@field stall_timeout? number  longest time without a byte in or out, also before the answer begins; default 120. Not while the stream is not read
---@field max_body? integer  most bytes of the unpacked body, 0: no limit; default 64 MiB for request, 0 for stream
---@field max_headers? integer  most bytes of all headers of the answer, default 65536
---@field max_event? integer  most bytes of one server-sent event, default 16 MiB
---@field ca_file? string  PEM file of the certificates to trust, in place of those of SSL_CERT_FILE or the system
---@field redirects? integer  most redirects to follow, 0 to 20; default 5 for GET and HEAD, else 0 (the 3xx is then the answer). Keys and other headers do not go along to another host
---@field keep? boolean  of a stream: keep the bytes of the body a second time, for kept(); default false. At most 256 MiB between two calls

---@class agenthost.http.Response
---@field status integer  also 4xx and 5xx: an answer is not a failure
---@field headers table<string, string>  names in lower case; what came more than once is joined with ", "
---@field body string
---@field url string  where the answer came from, after redirects

---Sends a request and waits for the whole answer.
---@param options agenthost.http.Options
---@return agenthost.http.Response? response
---@return string? message
---@return agenthost.http.Code? code
function http.request(options) end

---Sends a request and waits for the headers of the answer. The body is then read from the stream:
---
---     local stream <close> = assert(http.stream{ url = url, body = body, headers = headers })
---     if stream.status ~= 200 then return nil, stream:rest() end
---     for event in stream:events() do ... end
---     local message, code = stream:error()
---
---When nobody reads, the transfer is paused at about 256 KiB.
---@param options agenthost.http.Options
---@return agenthost.http.Stream? stream
---@return string? message
---@return agenthost.http.Code? code
function http.stream(options) end

---@class agenthost.http.Replay
---@field status? integer  default 200
---@field headers? table<string, string>
---@field body? string  the unpacked bytes, default ""
---@field error? string[]  { message, code }: the stream fails with them behind the body; without it the body is complete
---@field url? string  default ""
---@field keep? boolean  as in agenthost.http.Options

---A stream whose bytes were recorded: it behaves like one of `http.stream` whose whole answer has
---come, and sends nothing.
---@param answer agenthost.http.Replay
---@return agenthost.http.Stream? stream
---@return string? message
---@return agenthost.http.Code? code  "EINVAL": a header has a NUL in it, or the code of the error is longer than 31 bytes
function http.replay(answer) end

---Using a closed stream raises "stream is closed"; the fields, close(), error() and kept() stay.
---@class agenthost.http.Stream
---@field status integer
---@field headers table<string, string>  as in agenthost.http.Response
---@field url string
local Stream = {}

---Waits for the next bytes of the body.
---@return string? bytes  nil at the end
---@return string? message
---@return agenthost.http.Code? code
function Stream:read() end

---Waits for all that is left of the body, and cuts it at `max`. For the text of an error answer.
---@param max? integer  bytes, default 1 MiB
---@return string? bytes  "" at the end
---@return string? message
---@return agenthost.http.Code? code
function Stream:rest(max) end

---A server-sent event, by the rules of the HTML Standard.
---@class agenthost.http.Event
---@field event string  its name, "message" when the stream gave none
---@field data string  its lines joined with "\n"
---@field id? string  the last id that the stream gave, maybe with an earlier event

---@class agenthost.http.EventOptions
---@field join? string[]  markers, at most 8: texts that end with the first quote of a JSON string, like `"text_delta","text":"`. Events that have come and lie unread one behind the other, and whose data is equal but for the string behind the first of these markers that occurs in it, come as one event with the strings put together, of at most 64 KiB (or max_event). A reader that keeps up gets each event by itself; nothing waits for others to join

---Waits for the next server-sent event. From the first call on, read() and rest() raise. An event
---that is not complete when the stream ends is not given.
---@param options? agenthost.http.EventOptions  hold from now on; nil: as before
---@return agenthost.http.Event? event  nil at the end
---@return string? message
---@return agenthost.http.Code? code
function Stream:event(options) end

---For a generic `for` over the events. Ends at the end and at a failure: ask error() then.
---@param options? agenthost.http.EventOptions  hold from now on; nil: as before
---@return fun(stream: agenthost.http.Stream): agenthost.http.Event? next
---@return agenthost.http.Stream stream
function Stream:events(options) end

---Why the stream failed; nothing when it has not.
---@return string? message
---@return agenthost.http.Code? code
function Stream:error() end

---The bytes of the body that came since the last call, read or not, as the server sent them (but
---unpacked). Also of a closed stream. Raises unless the stream was opened with `keep`.
---@return string bytes
function Stream:kept() end

---Ends the transfer, if it has not ended, and frees all. May be called again.
function Stream:close() end

return http
