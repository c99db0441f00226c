local sha256 = require("agenthost.sha256")
local temp = require("support.temp")

describe("agenthost.sha256", function()
  it("gives what FIPS 180-4 says", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      sha256.hex(""))
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      sha256.hex("abc"))
    assert.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      sha256.hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))
  end)

  it("gives what sha256sum says, whatever the length", function()
    local dir = temp.directory()
    for _, length in ipairs({ 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 5000 }) do
      local s = ("\0\255ab\n"):rep(length):sub(1, length)
      local path = temp.write(dir .. "/file", s)
      local pipe = assert(io.popen("sha256sum " .. path))
      assert.equal(pipe:read("a"):sub(1, 64), sha256.hex(s), tostring(length))
      pipe:close()
    end
    temp.remove(dir)
  end)
end)
