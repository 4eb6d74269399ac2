import { allow, AuthError, policy, type Question, type Rule, type TopicQuestion } from "../../src/auth/mod.ts";
import { type Caller, rpc, service } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Text } from "../rpc/_rig.ts";

const DOMAIN = "example.org";
const id = (path: string) => `spiffe://${DOMAIN}/${path}`;
const WEB = id("web");
const caller: Caller = { id: WEB, roles: ["r"], attributes: { team: "red" } };
const Echo = service("echo.v1", { say: rpc(Text, Text) });

const publishes = (rules: readonly Rule[], publish: string, who = caller) =>
  policy(rules).matching({ caller: who, publish }).length > 0;
const subscribes = (rules: readonly Rule[], subscribe: string, who = caller) =>
  policy(rules).matching({ caller: who, subscribe }).length > 0;

test("policy() without rules lets nobody publish or subscribe", () => {
  for (const name of ["a", "*", ">", ""]) {
    assert.equal(publishes([], name), false);
    assert.equal(subscribes([], name), false);
  }
});

for (const [verb, asks, other] of [["publish", publishes, subscribes], ["subscribe", subscribes, publishes]] as const) {
  test(`policy() lets a caller ${verb} to what its rules name, and to nothing else`, () => {
    const rules = [allow({ caller: WEB, [verb]: ["orders.v1.*", "cards.>"] })];
    for (const name of ["orders.v1.placed", "cards.a", "cards.a.b"]) assert.equal(asks(rules, name), true, name);
    const others = ["orders.v1", "orders.v1.a.b", "orders.v2.a", "Orders.v1.a", "cards", "cardsx.a", "a", "", "orders"];
    for (const name of others) assert.equal(asks(rules, name), false, name);
  });

  test(`policy() does not take a rule to ${verb} for the other direction, nor for calls`, () => {
    const rules = [allow({ caller: WEB, [verb]: ">" })];
    assert.equal(asks(rules, "a.b"), true);
    assert.equal(other(rules, "a.b"), false);
    for (const call of ["echo.v1/say", ">", "a.b", "a.b/c", ""]) {
      assert.deepEqual(policy(rules).matching({ caller, call, capability: true }), [], call);
    }
  });

  test(`policy() lets a caller ${verb} to a pattern only where a rule covers all of it`, () => {
    const rules = [allow({ caller: WEB, [verb]: "orders.*" })];
    for (const name of ["orders.a", "orders.*"]) assert.equal(asks(rules, name), true, name);
    for (const name of ["orders.>", "*.a", ">", "*", "*.*", "orders.*.a"]) assert.equal(asks(rules, name), false, name);
    // Two rules that cover it together only are not put together.
    const halves = [allow({ caller: WEB, [verb]: "a" }), allow({ caller: WEB, [verb]: "*.>" })];
    assert.equal(asks(halves, ">"), false);
  });

  test(`policy() wants the caller that a rule to ${verb} is for`, () => {
    const rule: Rule = { caller: id("web"), role: "r", attributes: { team: "red" }, [verb]: "a" };
    assert.equal(asks([rule], "a"), true);
    for (
      const less of [
        { ...caller, id: id("web/a") },
        { ...caller, id: id("we") },
        { ...caller, roles: [] },
        { ...caller, attributes: {} },
        { ...caller, attributes: { team: "Red" } },
        { ...caller, attributes: Object.create({ team: "red" }) },
      ]
    ) assert.equal(asks([rule], "a", less), false);
    const below = { caller: id("web/*"), [verb]: "a" };
    assert.deepEqual([asks([below], "a"), asks([below], "a", { ...caller, id: id("web/a") })], [false, true]);
  });
}

test("policy() does not open a topic by a rule for calls", () => {
  const rules = [
    allow({ caller: WEB, call: ["echo.v1/*", "a/*"] }),
    allow({ call: "echo.v1/say", anyone: true }),
    allow({ call: "echo.v1/say", capability: true }),
  ];
  for (const name of ["echo.v1", "echo.v1.say", "echo.v1/say", "a", ">", "", "undefined"]) {
    assert.equal(publishes(rules, name), false, name);
    assert.equal(subscribes(rules, name), false, name);
  }
  assert.deepEqual(policy(rules).topicsOf(caller), { publish: [], subscribe: [] });
});

test("policy() takes each part of a rule that has all three for itself", () => {
  const rules = [allow({ caller: WEB, call: "echo.v1/say", publish: "p", subscribe: "s" })];
  assert.deepEqual([publishes(rules, "p"), publishes(rules, "s")], [true, false]);
  assert.deepEqual([subscribes(rules, "s"), subscribes(rules, "p")], [true, false]);
  const called = (call: string) => policy(rules).matching({ caller, call, capability: false }).length;
  assert.deepEqual([called("echo.v1/say"), called("p"), called("s")], [1, 0, 0]);
});

test("Policy.matching() gives the rules themselves, all that hold", () => {
  const rules = [
    allow({ caller: WEB, publish: "a.*" }),
    allow({ role: "r", publish: "a.b", when: () => false }),
    allow({ role: "other", publish: ">" }),
  ];
  assert.deepEqual(policy(rules).matching({ caller, publish: "a.b" }), [rules[0], rules[1]]);
});

test("Policy.matching() looks at one topic only where two are asked for", () => {
  const rules = [allow({ caller: WEB, publish: "p" })];
  const both = { caller, publish: "x", subscribe: "p" } as unknown as TopicQuestion;
  assert.deepEqual(policy(rules).matching(both), []);
  const neither = { caller } as unknown as TopicQuestion;
  assert.deepEqual(policy([allow({ caller: WEB, publish: ">", subscribe: ">" })]).matching(neither), []);
});

test("Policy.matching() never allows a question without a caller", () => {
  const rules = [allow({ caller: `spiffe://${DOMAIN}/*`, publish: ">", subscribe: ">" })];
  for (const more of [{ publish: "a" }, { subscribe: "a" }]) {
    const question = { caller: undefined, ...more } as unknown as Question | TopicQuestion;
    let allowed = false;
    try {
      allowed = policy(rules).matching(question).length > 0;
    } catch (error) {
      assert.ok(error instanceof TypeError);
    }
    assert.equal(allowed, false);
  }
});

test("Policy.explain() says which rule opens a topic, and why others do not", () => {
  const { explain } = policy([
    allow({ caller: WEB, call: "echo.v1/say" }),
    allow({ caller: WEB, subscribe: "a" }),
    allow({ role: "other", publish: "a" }),
    allow({ caller: WEB, publish: "a", when: () => true }),
  ]);
  assert.deepEqual(explain({ caller, publish: "a" }), {
    allowed: true,
    rule: 3,
    dependsOnMessage: true,
    reasons: [
      "rule 0 does not: it is for other topics",
      "rule 1 does not: it is for other topics",
      "rule 2 does not: the caller has none of its roles",
      "rule 3 allows it",
    ],
  });
  assert.equal(explain({ caller, publish: "b" }).allowed, false);
  assert.equal(explain({ caller, subscribe: "a" }).rule, 1);
});

test("Policy.topicsOf() gives what every rule for a caller opens, each once", () => {
  const { topicsOf } = policy([
    allow({ caller: WEB, publish: ["a", "b.*"], subscribe: "c" }),
    allow({ role: "r", publish: "a", subscribe: ["c", "d.>"] }),
    allow({ attributes: { team: "red" }, publish: "e", when: () => false }),
    allow({ caller: id("other"), publish: "x", subscribe: "x" }),
    allow({ role: "other", publish: "y", subscribe: "y" }),
    allow({ attributes: { team: "blue" }, publish: "z", subscribe: "z" }),
    allow({ caller: WEB, call: "echo.v1/say" }),
  ]);
  assert.deepEqual(topicsOf(caller), { publish: ["a", "b.*", "e"], subscribe: ["c", "d.>"] });
  assert.deepEqual(topicsOf({ id: id("nobody"), roles: [], attributes: {} }), { publish: [], subscribe: [] });
});

const refusals: readonly (readonly [title: string, rule: Rule, message: RegExp])[] = [
  ["a topic with a right", { caller: WEB, publish: "a", capability: true }, /show no right/],
  ["a subscription with a right", { caller: WEB, subscribe: "a", capability: true }, /show no right/],
  ["a topic by a right alone", { publish: "a", capability: true }, /show no right/],
  ["a topic for anyone", { publish: "a", anyone: true }, /never just anyone/],
  ["a subscription for anyone", { subscribe: "a", anyone: true }, /never just anyone/],
  ["a topic beside a call for anyone", { call: "echo.v1/say", subscribe: "a", anyone: true }, /never just anyone/],
  ["a topic of nobody", { publish: "a" }, /does not say who/],
  ["a subscription of nobody", { subscribe: "a", when: () => true }, /does not say who/],
  ["nothing to do", { caller: WEB }, /names no method and no topic/],
  ["an empty list to publish to", { caller: WEB, publish: [] }, /names no method and no topic/],
  ["an empty list to subscribe to", { caller: WEB, subscribe: [] }, /names no method and no topic/],
  ["an empty list beside another", { caller: WEB, publish: "a", subscribe: [] }, /names no method and no topic/],
  [
    "an empty list to publish to beside another",
    { caller: WEB, publish: [], subscribe: "a" },
    /no method and no topic/,
  ],
  ["an empty list of calls beside a topic", { caller: WEB, publish: "a", call: [] }, /names no method and no topic/],
  ["a subscription that depends on a message", { caller: WEB, subscribe: "a", when: () => true }, /"when"/],
  ["no caller in its list", { caller: [], publish: "a" }, /"caller" is empty/],
  ["no role in its list", { role: [], publish: "a" }, /"role" is empty/],
  ["no attribute", { attributes: {}, publish: "a" }, /"attributes" are empty/],
  ["a flag that is none", { caller: WEB, publish: "a", anyone: "no" as never }, /"anyone" is neither/],
  ["a right that is no flag", { caller: WEB, publish: "a", capability: "yes" as never }, /"capability" is neither/],
  ["a member for a misspelled topic", { caller: WEB, call: "a/b", publsh: "a" } as Rule, /no member "publsh"/],
  ["a member of another case", { caller: WEB, Publish: "a" } as Rule, /no member "Publish"/],
  ["a member that objects inherit", { caller: WEB, publish: "a", toString: "x" } as never, /no member "toString"/],
];
for (const [title, rule, message] of refusals) {
  test(`allow() refuses ${title}`, () => {
    assert.throws(() => allow(rule), (error: unknown) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, /^Cannot use the rule: .*[^.]$/);
      assert.match(error.message, message);
      return true;
    });
    assert.throws(() => policy([rule]), TypeError, "policy() checks what did not come from allow()");
  });
}

test("allow() refuses topics in any spelling but their own", () => {
  const malformed = ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a.>.b", "a.b>", "a*", "$SYS.>", "a/b", "a-b", "1a"];
  for (const name of [...malformed, "a".repeat(129)]) {
    for (const verb of ["publish", "subscribe"] as const) {
      for (const given of [name, [name], ["good", name]]) {
        assert.throws(() => allow({ caller: WEB, [verb]: given }), /is no topic, and no pattern of topics$/, name);
      }
    }
  }
});

test("allow() refuses topics that are no texts", () => {
  for (const given of [null, 1, true, {}, [1], [undefined], [["a"]]] as never[]) {
    assert.throws(() => allow({ caller: WEB, publish: given }), TypeError);
    assert.throws(() => allow({ caller: WEB, call: "a/b", subscribe: given }), TypeError);
  }
});

test("allow() refuses a caller that is no identity, for topics too", () => {
  assert.throws(() => allow({ caller: "web", publish: "a" }), AuthError);
  assert.throws(() => allow({ caller: "spiffe://example.org", subscribe: "a" }), AuthError);
});

test("allow() keeps its own copy of the topics", () => {
  const [publish, subscribe] = [["a"], ["b"]];
  const rule = allow({ caller: WEB, publish, subscribe });
  const rules = policy([rule]);
  publish.push(">");
  subscribe[0] = ">";
  assert.deepEqual(rules.topicsOf(caller), { publish: ["a"], subscribe: ["b"] });
  assert.throws(() => (rule.publish as string[]).push("c"), TypeError);
});

test("Policy.start() takes rules for calls where nothing is served, and for topics where something is", () => {
  const rules = policy([allow({ caller: WEB, call: "echo.v1/say" }), allow({ caller: WEB, publish: "a" })]);
  rules.start(undefined, [DOMAIN]);
  rules.start([Echo], [DOMAIN]);
  assert.throws(() => rules.start([], [DOMAIN]), /rule 0: the server has no "echo.v1\/say"$/);
  policy([allow({ call: "a/b", anyone: true }), allow({ caller: WEB, call: "a/b" })]).start(undefined, [DOMAIN]);
});

test("Policy.start() refuses rules for topics that can never hold, or hold for too many", () => {
  for (const verb of ["publish", "subscribe"] as const) {
    const foreign = policy([allow({ caller: "spiffe://other.test/web", [verb]: "a" })]);
    for (const services of [undefined, [], [Echo]]) {
      assert.throws(() => foreign.start(services, [DOMAIN]), /rule 0: it can never hold, nobody vouches for/);
    }
    foreign.start(undefined, [DOMAIN, "other.test"]);
    for (const who of [{ role: "r" }, { attributes: { team: "red" } }]) {
      const open = policy([allow({ ...who, [verb]: "a" })]);
      open.start(undefined, [DOMAIN]);
      assert.throws(() => open.start(undefined, [DOMAIN, "other.test"]), /must also say whose callers/);
    }
  }
});
