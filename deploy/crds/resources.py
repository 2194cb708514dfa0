# SPDX-License-Identifier: Apache-2.0
"""What the resources have beyond the messages that they are made of, and what their values must be.

The patterns say no more and no less than the C functions named beside them, as far as the API server has the means; what it
lets pass and policyd refuses stands in the object's status.
"""

PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"  # 1 to 65535
DOMAIN = r"[a-z0-9._-]{1,255}"  # spiffe_trust_domain_check
_SEGMENT = r"(\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3}[A-Za-z0-9._-]*)"  # of a path: not empty, "." or ".."
ID = rf"^spiffe://{DOMAIN}((/{_SEGMENT})+/?)?$"  # spiffe_pattern_parse
LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123, as namespaces and services are named
SUBDOMAIN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"  # as service accounts are named
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
BLOCK = {"type": "string", "maxLength": 49,  # cidr_parse, but for bits set behind the prefix
         "anyOf": [{"pattern": rf"^({_OCTET}\.){{3}}{_OCTET}(/(3[0-2]|[12]?[0-9]))?$"}, {"format": "ipv6"},
                   {"format": "cidr", "pattern": ":"}]}
SPIFFE_ID = {"type": "string", "maxLength": 2048, "pattern": ID}
PORTS = {  # port_range_list, but for ranges that have ports in common
    "type": "array", "minItems": 1, "maxItems": 1024,
    "items": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}],
              "minimum": 1, "maximum": 65535, "maxLength": 11, "pattern": f"^{PORT}-{PORT}$"},
    "x-kubernetes-validations": [{
        "rule": "self.all(p, type(p) == int || int(p.split('-')[0]) <= int(p.split('-')[1]))",
        "message": "a range ends before it begins: write the lower port first"}]}


def _list(items, most):
    return {"type": "array", "minItems": 1, "maxItems": most, "items": items}


def _names(description, pattern, most=63):
    return {"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern, "description": description}


NAMESPACE = _names("The namespace's name.", LABEL)
ACCOUNT = _names("The service account's name.", SUBDOMAIN, 253)
CALLERS = _list({"type": "object", "required": ["namespace"], "properties": {
    "namespace": NAMESPACE,
    "serviceAccount": {**ACCOUNT, "description": "The service account's name; absent: every account of the namespace."}}}, 1024)
ACCOUNTS = {**_list(ACCOUNT, 64), "description": "The pods of these service accounts."}
SELECTOR = {
    "type": "object", "minProperties": 1,
    "description": "Which pods of the object's namespace enforce the policy, all of what is named here at once; absent: all.",
    "properties": {
        "serviceAccounts": ACCOUNTS,
        "matchLabels": {"type": "object", "minProperties": 1, "maxProperties": 64,
                        "description": "The pods that have all of these labels.",
                        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}}}}
CALLING = {
    "type": "object", "minProperties": 1, "required": ["serviceAccounts"],
    "description": "Which pods of the object's namespace may call; absent: all, and in policyd's own namespace those of every "
                   "namespace.",
    "properties": {"serviceAccounts": ACCOUNTS}}
SERVICES = {
    **_list({"type": "object", "required": ["namespace", "name"],
             "properties": {"namespace": NAMESPACE, "name": _names("The service's name.", LABEL)}}, 64),
    "description": "Services of this cluster whose addresses are called, beside `addresses`."}

# Of a proto field, what its schema is beyond the type; by message and name.
FIELDS = {
    "Policy.ports": PORTS,
    "Policy.rules": _list(None, 256),
    **{f"Policy.Rule.{name}": _list(SPIFFE_ID, 1024) for name in ["principals", "not_principals"]},
    **{f"Policy.Rule.{name}": _list(BLOCK, 1024) for name in ["source_ips", "not_source_ips"]},
    "Destination.addresses": _list(BLOCK, 1024),
    "Destination.ports": PORTS,
    "Destination.identities": _list(SPIFFE_ID, 64),
    "Destination.alpn": _list({"type": "string", "minLength": 1, "maxLength": 255}, 16),
}

CALLS_EVERYBODY = "a rule of an ALLOW must name from, principals or sourceIps, or it would let everybody in"
MTLS_NEEDS = "mode MTLS needs the identities of which the server must prove one"
CONDITION = '.status.conditions[?(@.type=="%s")].%s'


def _column(name, path, description, **more):
    return {"name": name, "type": "string", "jsonPath": path, "description": description, **more}


STATUS_COLUMNS = [
    _column("Accepted", CONDITION % ("Accepted", "status"), "Whether policyd takes it as it is written"),
    _column("In force", CONDITION % ("InForce", "message"), "How many of the sidecars that it concerns have it"),
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]

# `name`: a rule for the object's name, and what is said where it is broken. In the mesh a policy is called NAMESPACE/NAME in up to
# 128 bytes, a destination in up to 253 (proxy/rules).
# `message`: the one that spec is made of, without the fields of `without`; `more`: fields before those, by the message that
# they stand in.
RESOURCES = [
    {"kind": "MeshPolicy", "plural": "meshpolicies", "short": "mp", "scope": "Namespaced",
     "description": "One row of the inbound allowlist of some pods. A connection that no ALLOW admits is refused; a DENY wins "
                    "over every ALLOW. Rules are OR-ed; the fields of a rule are AND-ed, the values of a field OR-ed; `from` and "
                    "`principals` of one rule are one field.",
     "name": ("self.metadata.name.size() <= 64", "the name of a MeshPolicy has 64 bytes at most"),
     "message": "Policy", "without": ["name"], "required": ["action", "rules"], "defaults": {"mode": "ENFORCE"},
     "more": {"Policy": {"selector": SELECTOR},
              "Policy.Rule": {
                  "from": {**CALLERS, "description": "Service accounts of this cluster, or whole namespaces."},
                  "notFrom": {**CALLERS, "description": "The same, of callers whom the rule does not concern."}}},
     "rules": [{"rule": "self.action != 'ALLOW' || self.rules.all(r, has(r.from) || has(r.principals) || has(r.sourceIps))",
                "message": CALLS_EVERYBODY}],
     "columns": [_column("Action", ".spec.action", "ALLOW or DENY"),
                 _column("Mode", ".spec.mode", "ENFORCE, or AUDIT, which only counts"), *STATUS_COLUMNS]},
    {"kind": "MeshDestination", "plural": "meshdestinations", "short": "md", "scope": "Namespaced",
     "description": "A place outside the mesh that the pods of this namespace may call. Services and pods in the mesh need none.",
     "name": ("self.metadata.name.size() <= 189", "the name of a MeshDestination has 189 bytes at most"),
     "message": "Destination", "without": ["name"], "required": ["mode"], "defaults": {},
     "more": {"Destination": {"selector": CALLING, "services": SERVICES}},
     "rules": [
         {"rule": "has(self.addresses) || has(self.services)", "message": "a destination needs addresses or services"},
         {"rule": "self.mode != 'MTLS' || has(self.identities)", "message": MTLS_NEEDS},
         {"rule": "self.mode == 'MTLS' || !has(self.identities)",
          "message": "mode PLAINTEXT proves no identities: leave them out"},
         {"rule": "self.mode == 'MTLS' || !has(self.alpn)", "message": "alpn is only for mode MTLS"},
         {"rule": "self.mode == 'MTLS' || !has(self.binding)", "message": "binding is only for mode MTLS"},
         {"rule": "!has(self.binding) || self.binding == 'NONE' || !has(self.alpn) || 'tabard/1' in self.alpn",
          "message": "only a sidecar can confirm a binding: add tabard/1 to alpn, or leave binding out"}],
     "columns": [_column("Mode", ".spec.mode", "MTLS or PLAINTEXT"), *STATUS_COLUMNS]},
    {"kind": "MeshSettings", "plural": "meshsettings", "short": "ms", "scope": "Cluster",
     "description": "What holds for the whole mesh. The one object of this kind is called `default`.",
     "message": "Settings", "only": ["unlisted_outbound", "key_exchange"], "required": ["trustDomain"],
     "defaults": {"unlistedOutbound": "DENY"},
     "name": ("self.metadata.name == 'default'", "the only MeshSettings is called default"),
     "more": {"Settings": {
         "trustDomain": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": f"^{DOMAIN}$",
                         "description": "The name in every identity of this mesh, spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT; "
                                        "never changed.",
                         "x-kubernetes-validations": [{
                             "rule": "self == oldSelf",
                             "message": "the trust domain can't be changed: every identity and policy has it"}]},
         "mode": {"type": "string", "enum": ["enforce", "observe"], "default": "enforce",
                  "description": "enforce: policies decide. observe: what they would deny is served, logged and counted. The "
                                 "annotation tabard.dev/mode of a namespace holds for its pods instead."},
         "certificateSeconds": {"type": "integer", "format": "int32", "minimum": 60, "maximum": 86400,
                                "description": "How long a pod's certificate lives, 3600 if absent. A sidecar renews its own when "
                                               "half of that is over, so a change takes effect with the next one. No connection "
                                               "outlives the certificates that it began with by more than a minute."}}},
     "rules": [],
     "columns": [_column("Trust domain", ".spec.trustDomain", "The name in every identity"),
                 _column("Mode", ".spec.mode", "enforce or observe"),
                 _column("Unlisted", ".spec.unlistedOutbound", "What becomes of calls to unlisted destinations"),
                 _column("Key exchange", ".spec.keyExchange", "ANY, or POST_QUANTUM, which refuses whoever lacks X25519MLKEM768"),
                 *STATUS_COLUMNS[::2]]},
]
