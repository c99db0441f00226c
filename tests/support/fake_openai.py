"""A strict fake of OpenAI's APIs, for end-to-end tests: Chat Completions and Responses.

    python3 tests/support/fake_openai.py --scenario FILE.json --log FILE.jsonl
        [--port 0] [--port-file FILE] [--max-seconds 300]

Scenario, rules, wire, faults and log are those of fake_anthropic.py, with these differences:
  reply        tools: [{name, input or arguments (raw text), id?}]; refusal (text) instead of
               content and stop_details; thinking comes as `reasoning_content`, in Responses as an
               encrypted item with the text (or each text of a list) as summary, "" for none;
               stop_reason in Anthropic's words or the API's own; usage in the API's fields
    Responses  items: [literal output items]; stop_reason max_output_tokens or content_filter makes
               it incomplete, "failed" fails it with error: {code, message}
  error_type   the `code` of the error object, such as context_length_exceeded
  quirks       of the scenario, or of one rule (those of streams): what other servers do differently
    streams    whole_tool_calls, object_arguments, empty_arguments ("" for {}), no_tool_id,
               empty_tool_id, no_tool_index, null_content, empty_content, role_in_each_delta,
               finish_reason_stop_with_tools, usage_in_last_chunk, no_usage, no_done,
               reasoning_field (`reasoning`), both_reasoning, timings, empty_first_chunk,
               ignores_stream (answers with JSON), reasoning_text (Responses: no summary)
    requests   max_tokens_only, no_developer_role, no_auto_tools, sampling (takes temperature and
               the like), takes_reasoning (in assistant messages), no_key (any or none will do),
               no_reasoning (Responses: knows neither `reasoning` nor `include`)
               elsewhere (others have answered, too: their calls are taken, and their reasoning is
               refused, for nobody else can read it)
    errors     llamacpp_errors, vllm_errors, bare_errors (a string), openrouter_errors (in the
               stream, with finish_reason "error"), nested_errors (Responses: in the stream)
"""

import re
from urllib.parse import unquote

from fake_chat import Chat
from fake_model import main
from fake_openai_check import refuse
from fake_responses import Responses
from fake_scenario import Event, Refusal, make_id

# Code -> (status, type). The code of the real service's error is null where it starts with "-".
ERRORS = {"-invalid_request": (400, "invalid_request_error"),
          "context_length_exceeded": (400, "invalid_request_error"),
          "invalid_api_key": (401, "invalid_request_error"),
          "-permission": (403, "invalid_request_error"),
          "-not_found": (404, "invalid_request_error"),
          "model_not_found": (404, "invalid_request_error"),
          "-conflict": (409, "invalid_request_error"),
          "-too_large": (413, "invalid_request_error"),
          "rate_limit_exceeded": (429, "tokens"),
          "insufficient_quota": (429, "insufficient_quota"),
          "-server_error": (500, "server_error"),
          "server_error": (500, "server_error"),
          "slow_down": (503, "service_unavailable_error")}
LLAMACPP_TYPES = {400: "invalid_request_error", 401: "authentication_error",
                  403: "permission_error", 404: "not_found_error", 500: "server_error",
                  501: "not_supported_error", 503: "unavailable_error"}


class OpenAI:
    """The API object that fake_model.Server talks to."""

    request_id_header = "x-request-id"
    rule_fields = ("refusal", "items", "error")
    quirks = ("whole_tool_calls", "object_arguments", "empty_arguments", "no_tool_id",
              "empty_tool_id", "no_tool_index", "null_content", "empty_content",
              "role_in_each_delta", "finish_reason_stop_with_tools", "usage_in_last_chunk",
              "no_usage", "no_done", "reasoning_field", "both_reasoning", "timings",
              "empty_first_chunk", "ignores_stream", "max_tokens_only", "no_developer_role",
              "no_auto_tools", "sampling", "takes_reasoning", "no_key", "llamacpp_errors",
              "vllm_errors", "bare_errors", "openrouter_errors", "nested_errors", "no_reasoning",
              "reasoning_text", "elsewhere")

    def __init__(self, scenario):
        self.scenario = scenario
        self.models = [self.model(item) for item in scenario.models or ["gpt-test-1"]]
        self.endpoints = {"/v1/chat/completions": Chat(scenario),
                          "/v1/responses": Responses(scenario)}

    @staticmethod
    def model(given):
        given = {"id": given} if isinstance(given, str) else given
        return {"object": "model", "created": 1767225600, "owned_by": "fake"} | given

    # ---- errors ----

    @staticmethod
    def error_type(status):
        return next((code for code, (known, _) in ERRORS.items() if known == status),
                    "-invalid_request" if status < 500 else "-server_error")

    @staticmethod
    def error_status(error_type):
        return ERRORS.get(error_type, (500, None))[0]

    def error_body(self, refusal, request_id):
        status, code, message = refusal.status, refusal.error_type, refusal.message
        kind = ERRORS[code if code in ERRORS else self.error_type(status)][1]
        code = None if code and code.startswith("-") else code
        if "bare_errors" in self.scenario.quirks:
            return {"error": message}
        if "vllm_errors" in self.scenario.quirks:
            return {"object": "error", "message": message, "type": "BadRequestError",
                    "param": refusal.param, "code": status}
        if "llamacpp_errors" in self.scenario.quirks:
            return {"error": self.llamacpp_error(status, code, message)}
        return {"error": {"message": message, "type": kind, "param": refusal.param, "code": code}}

    @staticmethod
    def llamacpp_error(status, code, message):
        error = {"code": status, "message": message,
                 "type": LLAMACPP_TYPES.get(status, "server_error")}
        if code in ("context_length_exceeded", "exceed_context_size_error"):
            numbers = [int(number) for number in re.findall(r"\d+", message)] + [0, 0]
            error |= {"type": "exceed_context_size_error", "n_prompt_tokens": numbers[0],
                      "n_ctx": numbers[1]}
        return error

    def error_event(self, error_type, message, _):
        """In a stream of Chat Completions the error object stands where a chunk would."""
        status = self.error_status(error_type)
        data = self.error_body(Refusal(status, error_type, message), None)
        if "openrouter_errors" in self.scenario.quirks:
            data = {"id": make_id("gen-"), "object": "chat.completion.chunk", "choices": [
                {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                "error": {"code": status, "message": message}}
        return Event(None, data)

    # ---- requests ----

    @staticmethod
    def messages_field(path):
        return "input" if path == "/v1/responses" else "messages"

    def handle(self, request):
        endpoint = self.endpoints.get(request.path) if request.method == "POST" else None
        wants_models = request.method == "GET" and \
            (request.path + "/").startswith("/v1/models/")
        if not endpoint and not wants_models:
            raise Refusal(404, "-not_found", f"Invalid URL ({request.method} {request.path})")
        self.authenticate(request)
        if wants_models:
            return self.list_models(unquote(request.path.removeprefix("/v1/models").lstrip("/")))
        media_type = (request.header("content-type") or "").split(";")[0].strip().lower()
        if media_type != "application/json":
            refuse("fake: the content-type should be application/json", code="-invalid_request")
        if request.body_error:
            refuse("We could not parse the JSON body of your request. (HINT: This likely means you "
                   f"aren't using your HTTP library correctly. {request.body_error})",
                   code="-invalid_request")
        return endpoint.question(request)

    def authenticate(self, request):
        if "x-api-key" in request.headers or "anthropic-version" in request.headers:
            refuse("fake: Anthropic's headers have no business here", code="-invalid_request")
        tokens = request.headers.get("authorization", [])
        if "no_key" in self.scenario.quirks or tokens == ["Bearer " + self.scenario.api_key]:
            return
        if not tokens:
            raise Refusal(401, "-no_key", "You didn't provide an API key. You need to provide your "
                          "API key in an Authorization header using Bearer auth.")
        raise Refusal(401, "invalid_api_key", "Incorrect API key provided: ****.")

    def list_models(self, wanted):
        if not wanted:
            return {"object": "list", "data": self.models}
        for model in self.models:
            if model["id"] == wanted:
                return model
        raise Refusal(404, "model_not_found", f"The model '{wanted}' does not exist", None, "model")

    def compose(self, question, rule, wire):
        return question.context[0].compose(question, rule, wire, self.error_event)


if __name__ == "__main__":
    main(OpenAI)
