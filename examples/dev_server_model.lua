-- The model of dev_server_agent.lua: says which of its calls this is, and what it was told.
return function(request, turn)
  if turn == 1 then
    return "The server was started."
  end
  return ("Call %d: I was told that it %s."):format(turn,
    request.last:match("has crashed once more after %d restarts") or "did something else")
end
