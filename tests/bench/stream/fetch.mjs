// Node: fetch, split into events, JSON.parse of each. Prints seconds, UTF-16 units seen and sent.
const begin = performance.now()
const response = await fetch(process.argv[2])
const decoder = new TextDecoder()
let rest = ""
let seen = 0
for await (const bytes of response.body) {
  rest += decoder.decode(bytes, { stream: true })
  let from = 0
  let to
  while ((to = rest.indexOf("\n\n", from)) >= 0) {
    const event = rest.slice(from, to)
    from = to + 2
    const at = event.indexOf("data: ")
    const data = JSON.parse(event.slice(at + 6))
    if (data.type === "content_block_delta") {
      seen += data.delta.text.length
    }
  }
  rest = rest.slice(from)
}
const sent = response.headers.get("x-text").split(" ")[1]
console.log((performance.now() - begin) / 1000, seen, sent)
