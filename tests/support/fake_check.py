"""What the fakes' validations have in common: walking a JSON body and refusing with its path.

Each API has its own words for the same fault; a subclass of Checker says them.
"""

import json
import re

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def canonical(value):
    """Text that is equal for equal JSON values: key order and 1 or 1.0 do not count."""
    def plain(item):
        if isinstance(item, dict):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [plain(inner) for inner in item]
        return int(item) if isinstance(item, float) and item.is_integer() else item
    return json.dumps(plain(value), sort_keys=True)


class Checker:
    """A subclass has these; each of the last four raises a Refusal:
        join(path, name) -> str        the path of a field; `name` may be an index
        missing(path)   unknown(path)
        wrong_type(path, kind, value)   not_one_of(path, value, allowed)
    """

    def fields(self, path, value, required, optional=()):
        """An object with all the required fields and no unknown one."""
        self.type(path, value, dict)
        for name in sorted(required):
            if name not in value:
                self.missing(self.join(path, name))
        for name in value:
            if name not in required and name not in optional:
                self.unknown(self.join(path, name))

    def type(self, path, value, kind):
        # `type() is`, because in Python a bool is an int.
        if type(value) is not kind:
            self.wrong_type(path, kind, value)

    def types(self, owner, path, kinds):
        """Checks those fields of an object that are there. kinds: name -> type"""
        for name, kind in kinds.items():
            if name in owner:
                self.type(self.join(path, name), owner[name], kind)

    def one_of(self, path, value, allowed):
        if value not in allowed:
            self.not_one_of(path, value, allowed)

    def schema(self, path, schema):
        """Mostly catches the empty Lua table that became a list, or the other way round."""
        self.type(path, schema, dict)
        self.types(schema, path, {"properties": dict, "required": list, "enum": list})
        if not isinstance(schema.get("type", ""), list):    # a list of types is legal
            self.types(schema, path, {"type": str})
        for name in schema.get("required", []):
            self.type(self.join(path, "required"), name, str)
        for name, inner in schema.get("properties", {}).items():
            self.schema(self.join(self.join(path, "properties"), name), inner)
        if "items" in schema:
            self.schema(self.join(path, "items"), schema["items"])
