// A fake server as a child process, for the tests in which the official SDKs are the judges.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const SUPPORT = process.env.AGENTHOST_SUPPORT; // tests/support
const SECONDS = 60; // a fake ends by itself then

/** Starts fake_anthropic.py or fake_openai.py for one test; resolves to its URL. */
export async function start(t, program, scenario) {
  const folder = mkdtempSync(join(tmpdir(), "agenthost-fake-"));
  const file = join(folder, "scenario");
  writeFileSync(file, JSON.stringify(scenario));
  const child = spawn("python3", ["-B", join(SUPPORT, program), "--scenario", file, "--log",
    join(folder, "log"), "--max-seconds", String(SECONDS)],
  { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill();
      await ended;
    }
    rmSync(folder, { recursive: true });
  });
  for await (const line of createInterface({ input: child.stdout })) {
    return line.replace("listening on ", "");
  }
  throw new Error("the fake does not start");
}

/** Every shape on the wire that a client has to read like the plain one. */
export const WIRES = {
  plain: {},
  "one byte at a time": { chunk: 1, crlf: true },
  "cut in the worst places": { split: true, crlf: true },
  compressed: { gzip: true },
  "everything at once": { chunk: 1000000, delta: 1 },
  "unknown events, comments, escapes": { unknown_events: true, comments: true, ascii: true },
  "no space behind the colon": { no_space: true },
};

/** Answers to calls, as the scenario has them. */
export const CALLS = [
  { name: "bash", input: { command: 'echo "ä🌍"', list: [], object: {}, n: 1 } },
  { name: "bash", input: {} },
];
export const TEXT = "Grüße, 世界 🌍\n\"quoted\" \\ and more";
