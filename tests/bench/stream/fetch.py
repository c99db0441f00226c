"""Python: http.client, split into events, json.loads of each. Prints seconds, bytes seen, sent."""
import http.client
import json
import sys
import time
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
begin = time.perf_counter()
connection = http.client.HTTPConnection(url.netloc)
connection.request("GET", url.path)
response = connection.getresponse()
rest, seen = b"", 0
while True:
    got = response.read1(1 << 16)
    if not got:
        break
    *events, rest = (rest + got).split(b"\n\n")
    for event in events:
        data = json.loads(event[event.index(b"data: ") + 6:])
        if data["type"] == "content_block_delta":
            seen += len(data["delta"]["text"].encode())
print(time.perf_counter() - begin, seen, response.getheader("x-text").split()[0])
