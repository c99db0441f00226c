"""Validation of Chat Completions requests: their shape, the tool loop, and what this server said
before. Local servers that can do less, or mind less, are quirks: see fake_openai.py."""

from fake_openai_check import EFFORTS, SAMPLING, OpenAIChecker, refuse

TOP_LEVEL = {"stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
             "max_completion_tokens", "reasoning_effort", "response_format", "store", "metadata",
             "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity",
             "service_tier", "user", "n"} | SAMPLING
STRINGS = ("prompt_cache_key", "safety_identifier", "service_tier", "user")
# Role -> (fields that must be there, fields that may, types of content parts).
ROLES = {"system": ({"content"}, {"name"}, {"text"}),
         "developer": ({"content"}, {"name"}, {"text"}),
         "user": ({"content"}, {"name"}, {"text", "image_url"}),
         "assistant": (set(), {"content", "name", "refusal", "tool_calls"}, {"text", "refusal"}),
         "tool": ({"content", "tool_call_id"}, set(), {"text"})}


class ChatCheck(OpenAIChecker):
    """Validation of one request body."""

    def run(self):
        body = self.body
        if not isinstance(body, dict):
            refuse("We could not parse the JSON body of your request. (HINT: it has to be an "
                   "object.)", code=None)
        self.limit()
        self.fields("", body, {"model", "messages"}, TOP_LEVEL | {"max_tokens"})
        self.text("model", body["model"], may_be_empty=False)
        self.options()
        self.tools(body.get("tools"))
        self.messages(body["messages"])

    def limit(self):
        old, new = "max_tokens", "max_completion_tokens"
        if "max_tokens_only" in self.quirks:
            if new in self.body:
                self.unknown(new)
        elif old in self.body:
            refuse(f"Unsupported parameter: '{old}' is not supported with this model. Use '{new}' "
                   "instead.", old, "unsupported_parameter")
        for name in (old, new):
            if name in self.body:
                self.integer(name, self.body[name], 1)

    def options(self):
        body = self.body
        self.sampling()
        self.types(body, "", {"stream": bool, "store": bool, "parallel_tool_calls": bool}
                   | dict.fromkeys(STRINGS, str))
        if body.get("store"):
            refuse("fake: an agent host keeps its conversations itself: store must be false",
                   "store")
        if "metadata" in body:
            self.metadata()
        if "stream_options" in body:
            if not body.get("stream"):
                refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                       "stream_options", None)
            kinds = {"include_usage": bool, "include_obfuscation": bool}
            self.fields("stream_options", body["stream_options"], (), kinds)
            self.types(body["stream_options"], "stream_options", kinds)
        for name, allowed in (("reasoning_effort", EFFORTS),
                              ("verbosity", ["low", "medium", "high"]),
                              ("prompt_cache_retention", ["in_memory", "24h"]), ("n", [1])):
            if name in body:
                self.one_of(name, body[name], allowed)
        if "response_format" in body:
            self.output_format("response_format", body["response_format"])

    def tools(self, tools):
        names = []
        if "tools" in self.body:
            self.array("tools", tools)
        for index, tool in enumerate(tools or []):
            path = f"tools[{index}]"
            self.fields(path, tool, {"type", "function"})
            self.one_of(path + ".type", tool["type"], ["function"])
            self.function(path + ".function", tool["function"])
            names.append(tool["function"]["name"])
        self.tool_names(names)
        if "tool_choice" in self.body:
            self.tool_choice(self.body["tool_choice"], names)

    def tool_choice(self, value, names):
        if isinstance(value, str):
            self.one_of("tool_choice", value, ["none", "auto", "required"])
            return
        self.fields("tool_choice", value, {"type", "function"})
        self.one_of("tool_choice.type", value["type"], ["function"])
        self.fields("tool_choice.function", value["function"], {"name"})
        self.chosen(value["function"]["name"], names)

    def messages(self, messages):
        self.array("messages", messages)
        begun = False
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            self.message(path, message)
            is_system = message["role"] in ("system", "developer")
            if begun and is_system:     # OpenAI takes it; the templates of many local models do not
                refuse(f"fake: {path}: system message must be at the beginning", path)
            begun = begun or not is_system
        self.pairing(messages)
        last = messages[-1]["role"]
        if last not in ("user", "tool"):
            refuse(f"fake: the last message is of the role '{last}': nobody is asked", "messages")

    def message(self, path, message):
        self.type(path, message, dict)
        role = message.get("role")
        if role is None:
            self.missing(path + ".role")
        if role == "developer" and "no_developer_role" in self.quirks:
            refuse("Unexpected message role.", path + ".role")
        self.one_of(path + ".role", role, sorted(ROLES))
        required, optional, parts = ROLES[role]
        if role == "assistant" and "takes_reasoning" in self.quirks:
            optional = optional | {"reasoning_content", "reasoning"}
        self.fields(path, message, required | {"role"}, optional)
        self.types(message, path, {"name": str, "tool_call_id": str, "reasoning": str,
                                   "reasoning_content": str})
        if role == "assistant":
            self.assistant(path, message)
        if message.get("content") is not None or role != "assistant":
            self.content(path + ".content", message["content"], parts)

    def assistant(self, path, message):
        if message.get("refusal") is not None:
            self.text(path + ".refusal", message["refusal"])
        if "tool_calls" in message:
            self.calls(path + ".tool_calls", message["tool_calls"])
        elif message.get("refusal"):
            pass
        elif message.get("content") is None:
            refuse(f"Invalid value for 'content': expected a string, got null. ({path})",
                   path + ".content", None)
        elif message["content"] == "":
            refuse(f"fake: {path}: an assistant message that says nothing", path + ".content")

    def content(self, path, content, parts):
        for where, part, kind in self.each_part(path, content, parts):
            self.fields(where, part, {"type", kind})
            if kind == "image_url":
                self.image(where + ".image_url", part["image_url"])
            else:
                self.text(f"{where}.{kind}", part[kind], may_be_empty=False)

    def image(self, path, image):
        self.fields(path, image, {"url"}, {"detail"})
        self.text(path + ".url", image["url"])
        if not image["url"].startswith(("https://", "http://", "data:image/")):
            refuse(f"Invalid '{path}.url': expected a URL or a data URL.", path + ".url",
                   "invalid_image_url")
        self.one_of(path + ".detail", image.get("detail", "auto"), ["auto", "low", "high"])

    def calls(self, path, calls):
        self.array(path, calls)
        for index, call in enumerate(calls):
            where = f"{path}[{index}]"
            self.fields(where, call, {"id", "type", "function"})
            self.text(where + ".id", call["id"], may_be_empty=False)
            self.one_of(where + ".type", call["type"], ["function"])
            self.fields(where + ".function", call["function"], {"name", "arguments"})
            self.text(where + ".function.name", call["function"]["name"], may_be_empty=False)
            self.arguments(where + ".function.arguments", call["function"]["arguments"])
        self.issued.check(path, [(call["id"], call["function"]["name"],
                                  call["function"]["arguments"]) for call in calls])

    def pairing(self, messages):
        """Each call is answered by one `tool` message, directly behind the message with calls."""
        owner, waiting, seen = None, [], set()
        for index, message in enumerate(messages + [{"role": None}]):
            if message["role"] == "tool":
                call = message["tool_call_id"]
                if owner is None:
                    refuse("Invalid parameter: messages with role 'tool' must be a response to a "
                           "preceeding message with 'tool_calls'.",
                           f"messages.[{index}].role", None)
                if call not in waiting:
                    refuse(f"Invalid parameter: 'tool_call_id' {call} of messages[{index}] not "
                           "found in 'tool_calls' of previous message.",
                           f"messages.[{index}].tool_call_id", None)
                waiting.remove(call)
                continue
            if waiting:
                refuse("An assistant message with 'tool_calls' must be followed by tool messages "
                       "responding to each 'tool_call_id'. The following tool_call_ids did not "
                       f"have response messages: {', '.join(waiting)}", f"messages.[{owner}].role", None)
            waiting = [call["id"] for call in message.get("tool_calls", [])]
            owner = index if waiting else None
            if len(set(waiting)) < len(waiting) or seen & set(waiting):
                refuse(f"fake: messages[{index}]: the ids of tool calls must be unique",
                       f"messages.[{index}].tool_calls")
            seen.update(waiting)
