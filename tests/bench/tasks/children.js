// Node's child_process, output collected through pipes. See README.md.
"use strict"
const { spawn } = require("child_process")
const readline = require("readline")

const [what, number] = process.argv.slice(2)
const count = Number(number || 1)
const now = () => process.hrtime.bigint()
const micros = (ns) => Number(ns) / 1e3
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function start(command, ...args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] })
  return new Promise((resolve, reject) => {
    const chunks = []
    child.on("error", reject)
    child.stdout?.on("data", (data) => chunks.push(data))
    child.stderr?.on("data", () => {})
    child.on("close", () => {
      try {
        resolve(Buffer.concat(chunks).toString())
      } catch (error) {
        reject(error)
      }
    })
  })
}

async function ask(word) {
  console.log(word)
  await lines.next()
}

async function main() {
  if (what === "start" || what === "last") {
    for (let i = 0; i < count; i++) {
      await sleep(2)
      const begin = now()
      const end = what === "start" ? start("true")
        : start(process.env.STAMP, String(begin + 5000000n))
      const started = now()
      const output = await end
      console.log(micros(what === "start" ? started - begin : now() - BigInt(output.trim())))
    }
  } else if (what === "many") {
    const begin = now()
    let failed = 0
    const all = []
    for (let i = 0; i < count; i++) {
      all.push(start("sh", "-c", "true").catch(() => failed++))
    }
    await Promise.all(all)
    console.log(micros(now() - begin) / 1e6, failed)
  } else if (what === "together") {
    const at = String(now() + 1500000000n)
    const all = []
    for (let i = 0; i < count; i++) {
      all.push(start(process.env.STAMP, at))
    }
    const stamps = (await Promise.all(all)).map((text) => BigInt(text.trim()))
    const end = now()
    console.log(micros(end - stamps.reduce((a, b) => (a < b ? a : b))))
  } else if (what === "leave" || what === "write") {
    await ask("before")
    const begin = now()
    await (what === "leave" ? start("sh", "-c", "sleep 30 & echo hi")
      : start("head", "-c", "1073741824", "/dev/zero")).catch(() => {})
    console.log(micros(now() - begin) / 1e6)
    await ask("after")
  } else if (what === "hold") {
    await ask("before")
    for (let i = 0; i < count; i++) {
      start("sleep", "20")
    }
    await sleep(3000)
    await ask("after")
  }
  process.exit(0)
}

main()
