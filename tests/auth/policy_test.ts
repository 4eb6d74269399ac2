import { allow, AuthError, policy, type Question, type Rule } from "../../src/auth/mod.ts";
import { decidesFor } from "../../src/auth/policy.ts";
import { type Caller, rpc, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Text } from "../rpc/_rig.ts";

const DOMAIN = "example.org";
const id = (path: string) => `spiffe://${DOMAIN}/${path}`;
const WEB = id("web");
const SAY = "echo.v1/say";
const Echo = service("echo.v1", { say: rpc(Text, Text), look: rpc(Text, Text) });
const Pay = service("pay.v1", { charge: rpc(Text, Text) });

const callerOf = (more: Partial<Caller> = {}): Caller => ({ id: WEB, roles: [], attributes: {}, ...more });
const asking = (more: Partial<Question> = {}): Question => ({
  caller: callerOf(),
  call: SAY,
  capability: false,
  ...more,
});
const allows = (rules: readonly Rule[], more: Partial<Question> = {}) =>
  policy(rules).matching(asking(more)).length > 0;

test("policy() without rules denies everything", () => {
  for (const more of [{}, { caller: undefined }, { capability: true }, { call: "" }]) {
    assert.equal(allows([], more), false);
  }
});

/** Each condition by itself: who satisfies it, and who does not. */
const conditions: readonly (readonly [
  name: string,
  rule: Omit<Rule, "call">,
  yes: readonly Partial<Question>[],
  no: readonly Partial<Question>[],
])[] = [
  ["one identity", { caller: WEB }, [{}], [
    ...[
      id("we"),
      id("web2"),
      id("web/a"),
      id("a/web"),
      "spiffe://example.com/web",
      "spiffe://example.org.evil.test/web",
    ]
      .map((id) => ({ caller: callerOf({ id }) })),
    { caller: undefined },
    { caller: undefined, capability: true },
  ]],
  ["several identities", { caller: [id("a"), WEB] }, [{}, { caller: callerOf({ id: id("a") }) }], [
    { caller: callerOf({ id: id("b") }) },
  ]],
  [
    "identities below one",
    { caller: id("pay/*") },
    [
      { caller: callerOf({ id: id("pay/a") }) },
      { caller: callerOf({ id: id("pay/a/b") }) },
    ],
    [id("pay"), id("payments"), id("payments/a"), id("pay-a"), id("x/pay/a")].map((id) => ({
      caller: callerOf({ id }),
    })),
  ],
  ["identities of a trust domain", { caller: `spiffe://${DOMAIN}/*` }, [{}, { caller: callerOf({ id: id("a/b") }) }], [
    { caller: callerOf({ id: "spiffe://example.org.evil.test/web" }) },
    { caller: callerOf({ id: "spiffe://example.com/web" }) },
    { caller: undefined },
  ]],
  ["a role", { role: "operator" }, [{ caller: callerOf({ roles: ["a", "operator"] }) }], [
    {},
    ...["operators", "Operator", "", "operator "].map((role) => ({ caller: callerOf({ roles: [role] }) })),
    { caller: undefined },
  ]],
  ["one of several roles", { role: ["operator", "owner"] }, [{ caller: callerOf({ roles: ["owner"] }) }], [
    { caller: callerOf({ roles: ["other"] }) },
  ]],
  ["an attribute", { attributes: { team: "red" } }, [{ caller: callerOf({ attributes: { team: "red", a: "b" } }) }], [
    {},
    ...["Red", "", "reds"].map((team) => ({ caller: callerOf({ attributes: { team } }) })),
    { caller: callerOf({ attributes: { Team: "red" } }) },
    { caller: undefined },
  ]],
  ["all of several attributes", { attributes: { team: "red", env: "prod" } }, [
    { caller: callerOf({ attributes: { team: "red", env: "prod" } }) },
  ], [
    { caller: callerOf({ attributes: { team: "red" } }) },
    { caller: callerOf({ attributes: { env: "prod" } }) },
    { caller: callerOf({ attributes: { team: "red", env: "test" } }) },
  ]],
  ["an attribute of its own", { attributes: { team: "red" } }, [], [
    { caller: callerOf({ attributes: Object.create({ team: "red" }) }) },
  ]],
  ["an attribute without a value", { attributes: { team: undefined as never } }, [], [{}]],
  ["an attribute that every object inherits", { attributes: { toString: String({}.toString) } }, [], [{}]],
  ["a right", { capability: true }, [{ capability: true }], [{}, { caller: undefined, capability: true }]],
  ["anyone", { anyone: true }, [{}, { caller: undefined }, { capability: true }], []],
];
for (const [name, rule, yes, no] of conditions) {
  test(`policy() allows by ${name}, and nobody else`, () => {
    const rules = [allow({ ...rule, call: SAY })];
    for (const more of yes) assert.equal(allows(rules, more), true, JSON.stringify(more));
    for (const more of no) assert.equal(allows(rules, more), false, JSON.stringify(more));
    for (const more of yes) assert.equal(allows(rules, { ...more, call: "echo.v1/look" }), false);
  });
}

const calls: readonly (readonly [call: Rule["call"], yes: readonly string[], no: readonly string[]])[] = [
  [SAY, [SAY], ["echo.v1/sayMore", "echo.v1/sa", "echo.v1/Say", "echo.v1/", "echo.v1", "xecho.v1/say", ""]],
  ["echo.v1/*", [SAY, "echo.v1/look"], ["echo.v10/say", "echo.v/say", "echo/say", "pay.v1/charge", ""]],
  [[SAY, "pay.v1/*"], [SAY, "pay.v1/charge"], ["echo.v1/look"]],
];
for (const [call, yes, no] of calls) {
  test(`policy() takes "${call}" for the methods it says`, () => {
    const rules = [allow({ caller: WEB, call })];
    for (const each of yes) assert.equal(allows(rules, { call: each }), true, each);
    for (const each of no) assert.equal(allows(rules, { call: each }), false, each);
  });
}

test("policy() wants all conditions of a rule", () => {
  const rule: Rule = { caller: WEB, role: "r", attributes: { a: "1" }, capability: true, call: SAY };
  const full = { caller: callerOf({ roles: ["r"], attributes: { a: "1" } }), capability: true };
  assert.equal(allows([rule], full), true);
  for (
    const less of [
      { ...full, caller: { ...full.caller, id: id("other") } },
      { ...full, caller: { ...full.caller, roles: [] } },
      { ...full, caller: { ...full.caller, attributes: {} } },
      { ...full, capability: false },
      { ...full, call: "echo.v1/look" },
    ]
  ) assert.equal(allows([rule], less), false);
});

test("policy() wants one rule of several, and gives all that hold", () => {
  const rules = [
    allow({ role: "r", call: SAY }),
    allow({ caller: WEB, call: SAY }),
    allow({ caller: WEB, call: "echo.v1/*" }),
  ];
  const matching = policy(rules).matching(asking());
  assert.deepEqual(matching, [rules[1], rules[2]]);
  assert.equal(policy(rules).matching(asking({ caller: callerOf({ id: id("x") }) })).length, 0);
});

// What a rule cannot be.

const wrong: readonly (readonly [name: string, rule: unknown, message: RegExp])[] = [
  ["nobody", { call: SAY }, /does not say who/],
  ["nobody, and a decision by the message", { call: SAY, when: () => true }, /does not say who/],
  ["not anyone", { call: SAY, anyone: false }, /does not say who/],
  ["almost anyone", { call: SAY, anyone: "true" }, /does not say who/],
  ["no right", { call: SAY, capability: false }, /does not say who/],
  ["anyone with an identity", { call: SAY, anyone: true, caller: WEB }, /cannot ask for more/],
  ["anyone with a role", { call: SAY, anyone: true, role: "r" }, /cannot ask for more/],
  ["anyone with attributes", { call: SAY, anyone: true, attributes: { a: "1" } }, /cannot ask for more/],
  ["anyone with a right", { call: SAY, anyone: true, capability: true }, /cannot ask for more/],
  ["a member that is not known", { call: SAY, caller: WEB, roles: ["r"] }, /no member "roles"/],
  ["no method", { caller: WEB, call: [] }, /names no method/],
  ["no identity", { caller: [], call: SAY }, /"caller" is empty/],
  ["no role of a list", { role: [], call: SAY }, /"role" is empty/],
  ["no attribute", { attributes: {}, call: SAY }, /"attributes" are empty/],
  ["a right that is no flag", { caller: WEB, call: SAY, capability: "true" }, /"capability"/],
  ["a decision that is no function", { caller: WEB, call: SAY, when: true }, /"when" is no function/],
  ...[
    "",
    "*",
    "*/*",
    "echo.v1",
    "/echo.v1/say",
    "echo.v1/",
    "echo.v1/s*",
    "echo.*/say",
    "echo.v1/say/x",
    "echo.v1/say\n",
  ]
    .map((call) => [`the method "${call}"`, { caller: WEB, call }, /is not "service\/method"/] as const),
  ["one wrong method of several", { caller: WEB, call: [SAY, "echo"] }, /"echo" is not/],
];
for (const [name, rule, message] of wrong) {
  test(`allow() and policy() refuse a rule for ${JSON.stringify(name)}`, () => {
    const isRefusal = (error: Error) => error instanceof TypeError && message.test(error.message);
    assert.throws(() => allow(rule as Rule), isRefusal);
    assert.throws(() => policy([allow({ caller: WEB, call: SAY }), rule as Rule]), isRefusal);
  });
}

for (
  const caller of [
    "",
    "web",
    "*",
    "/*",
    "spiffe://*",
    "spiffe://example.org",
    `${WEB}*`,
    `${WEB}/*/a`,
    `${WEB}//*`,
    `${WEB}/`,
    "spiffe://Example.org/web",
    "spiffe://example.org/w%65b",
    "https://example.org/web",
  ]
) {
  test(`allow() refuses "${caller}" as a caller`, () => {
    for (const each of [caller, [WEB, caller]]) {
      assert.throws(
        () => allow({ caller: each, call: SAY }),
        (error) => error instanceof AuthError && error.reason === "malformed_id",
      );
    }
  });
}

test("allow() gives a rule that does not change", () => {
  const given = { caller: WEB, call: SAY };
  const rule = allow(given);
  given.call = "echo.v1/*";
  assert.equal(rule.call, SAY);
  assert.ok(Object.isFrozen(rule));
});

test("policy() does not change with the lists that it was made of", () => {
  const [call, caller, attributes] = [[SAY], [WEB], { team: "red" }];
  const rules = policy([{ call, caller }, { call: "echo.v1/look", attributes }]);
  call.push("pay.v1/charge");
  caller.push(id("other"));
  attributes.team = "blue";
  assert.equal(rules.matching(asking({ call: "pay.v1/charge" })).length, 0);
  assert.equal(rules.matching(asking({ caller: callerOf({ id: id("other") }) })).length, 0);
  const blue = callerOf({ attributes: { team: "blue" } });
  assert.equal(rules.matching(asking({ call: "echo.v1/look", caller: blue })).length, 0);
});

// What a policy finds when a server starts.

const startErrors: readonly (readonly [name: string, rules: readonly Rule[], messages: readonly RegExp[]])[] = [
  ["an unknown service", [{ caller: WEB, call: "ech.v1/say" }], [/rule 0: the server has no "ech\.v1\/say"/]],
  ["an unknown method", [{ caller: WEB, call: [SAY, "echo.v1/sai"] }], [/rule 0: .*"echo\.v1\/sai"/]],
  ["all methods of an unknown service", [{ caller: WEB, call: "echo.v2/*" }], [/"echo\.v2\/\*"/]],
  ["a caller of a foreign trust domain", [{ caller: "spiffe://other.test/web", call: SAY }], [
    /rule 0: it can never hold.*spiffe:\/\/other\.test\/web/,
  ]],
  ["callers below a foreign trust domain", [{ caller: [WEB, "spiffe://other.test/*"], call: SAY }], [
    /other\.test\/\*/,
  ]],
  ["anyone beside an identity", [{ anyone: true, call: SAY }, { caller: WEB, call: SAY }], [
    /rule 0 opens "echo\.v1\/say" to anyone, which makes rule 1 mean nothing/,
  ]],
  ["anyone after a role", [{ role: "r", call: "echo.v1/*" }, { anyone: true, call: SAY }], [/rule 1 opens .* rule 0/]],
  ["anyone for all methods beside one", [{ anyone: true, call: "echo.v1/*" }, { caller: WEB, call: SAY }], [
    /rule 0 opens/,
  ]],
  ["anyone twice", [{ anyone: true, call: SAY }, { anyone: true, call: SAY }], [/rule 0 opens .* rule 1/]],
  [
    "anyone beside anyone by the message",
    [{ anyone: true, call: SAY, when: () => true }, { anyone: true, call: SAY }],
    [
      /rule 1 opens .* rule 0/,
    ],
  ],
  ["several at once", [{ caller: "spiffe://other.test/a", call: "x.v1/y" }, { caller: WEB, call: "z.v1/*" }], [
    /rule 0: .*x\.v1\/y/,
    /rule 0: .*other\.test/,
    /rule 1: .*z\.v1/,
  ]],
];
for (const [name, rules, messages] of startErrors) {
  test(`Policy.start() refuses ${name}`, () => {
    assert.throws(() => policy(rules).start([Echo, Pay], [DOMAIN]), (error: Error) => {
      for (const message of messages) assert.match(error.message, message);
      return error instanceof TypeError;
    });
  });
}

test("Policy.start() takes rules that mean something", () => {
  policy([]).start([Echo], [DOMAIN]);
  policy([
    { caller: [WEB, id("pay/*"), `spiffe://${DOMAIN}/*`], call: ["echo.v1/say", "pay.v1/*"] },
    { caller: "spiffe://other.test/a", call: "pay.v1/charge", capability: true },
    { anyone: true, call: "echo.v1/look" },
  ]).start([Echo, Pay], [DOMAIN, "other.test"]);
  policy([{ anyone: true, call: SAY, when: () => true }, { caller: WEB, call: SAY }]).start([Echo], [DOMAIN]);
});

// Decisions by the message.

const question = { caller: callerOf(), message: { text: "a" }, now: new Date(0) };
const decided = (...whens: readonly (Rule["when"] | undefined)[]) =>
  decidesFor(whens.map((when) => ({ caller: WEB, call: SAY, ...when ? { when } : {} })), question);

test("decidesFor() allows where a rule asks for no more, or says true", () => {
  assert.equal(decided(undefined), true);
  assert.equal(decided(() => true), true);
  assert.equal(decided(() => false, () => true), true);
  assert.equal(decided(() => false, undefined), true);
  assert.equal(decided(() => false, () => false), false);
  assert.equal(decided(), false);
});

for (const value of [1, "true", {}, [], () => true, new Boolean(true), Promise.resolve(true), null, undefined, 0, ""]) {
  test(`decidesFor() does not take ${Object.prototype.toString.call(value)} ${String(value)} for true`, () => {
    assert.equal(decided(() => value as boolean), false);
  });
}

test("decidesFor() does not take an asynchronous decision", () => {
  assert.equal(decided((async () => await Promise.resolve(true)) as never), false);
});

test("decidesFor() does not allow where a decision throws, and asks the next rule", () => {
  for (const thrown of [new Error("no"), null, "text"]) {
    const throwing = () => {
      throw thrown;
    };
    assert.equal(decided(throwing), false);
    assert.equal(decided(throwing, () => true), true);
  }
});

test("decidesFor() lets no rejection of an asynchronous decision escape", async () => {
  let handled = false;
  const rejecting = Promise.reject(new Error("no"));
  const then = rejecting.then.bind(rejecting);
  rejecting.then = ((...given: Parameters<typeof then>) => {
    handled ||= typeof given[1] === "function";
    return then(...given);
  }) as typeof rejecting.then;
  assert.equal(decided((() => rejecting) as never), false);
  await then(undefined, () => {}); // keeps this very test alive where nobody else looks
  assert.ok(handled, "the promise was dropped: a runtime ends the process for that");
});

test("decidesFor() tells a decision who asks, what, and when", () => {
  let seen: unknown;
  decided((given) => {
    seen = given;
    return true;
  });
  assert.deepEqual(seen, question);
});

// Explanations.

test("Policy.explain() names the rule that allows, and says why those before it do not", () => {
  const rules = policy([
    allow({ caller: WEB, call: "pay.v1/*" }),
    allow({ caller: id("x"), call: SAY }),
    allow({ role: "r", call: SAY }),
    allow({ attributes: { team: "red" }, call: SAY }),
    allow({ capability: true, call: SAY }),
    allow({ caller: WEB, call: SAY, when: () => true }),
    allow({ caller: WEB, call: SAY }),
  ]);
  assert.deepEqual(rules.explain(asking()), {
    allowed: true,
    rule: 5,
    dependsOnMessage: true,
    reasons: [
      "rule 0 does not: it is for other methods",
      "rule 1 does not: it is for other callers",
      "rule 2 does not: the caller has none of its roles",
      `rule 3 does not: the caller's attribute "team" is another`,
      "rule 4 does not: the caller shows no right for the method",
      "rule 5 allows it",
    ],
  });
});

test("Policy.explain() says that no rule allows, and why each does not", () => {
  const rules = policy([allow({ caller: WEB, call: SAY })]);
  assert.deepEqual(rules.explain(asking({ caller: undefined })), {
    allowed: false,
    rule: undefined,
    dependsOnMessage: false,
    reasons: ["rule 0 does not: the caller proves nothing", "no rule allows it"],
  });
  assert.deepEqual(policy([]).explain(asking()).reasons, ["no rule allows it"]);
});

test("Policy.explain() says where nothing depends on the message", () => {
  const { allowed, rule, dependsOnMessage } = policy([allow({ anyone: true, call: SAY })]).explain(asking());
  assert.deepEqual([allowed, rule, dependsOnMessage], [true, 0, false]);
});
