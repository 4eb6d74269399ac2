import { allow, policy, type Rule } from "../../src/auth/mod.ts";
import {
  isKeyTopic,
  joinTopic,
  keysTopic,
  mayPublish,
  mayReceive,
  maySubscribe,
} from "../../src/broker/topic_rules.ts";
import { isTopicName } from "../../src/internal/topic_name.ts";
import type { Caller } from "../../src/rpc/mod.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

const SHOP = "spiffe://example.org/shop";
const caller: Caller = { id: SHOP, roles: [], attributes: {} };
const may = (rule: Omit<Rule, "caller">) => {
  const rules = policy([allow({ caller: SHOP, ...rule })]);
  return {
    publish: (name: string, who = caller) => mayPublish(rules, who, name),
    subscribe: (name: string, who = caller) => maySubscribe(rules, who, name),
    receive: (name: string, who = caller) => mayReceive(rules, who, name),
  };
};
const all = (
  name: string,
  { publish, subscribe, receive }: ReturnType<typeof may>,
) => [publish(name), subscribe(name), receive(name)];

test("isKeyTopic() knows the topics of keys by their first segment", () => {
  for (const name of [joinTopic("a"), keysTopic("a.b"), "postern.x", "postern.>", "postern", "Postern.a"]) {
    assert.equal(isKeyTopic(name), true, name);
  }
  for (const name of ["posterns", "posterns.a", "a.postern.keys", "a", ">", "postern_a.b"]) {
    assert.equal(isKeyTopic(name), false, name);
  }
  assert.deepEqual([joinTopic("a.b"), keysTopic("a.b")], ["postern.join.a.b", "postern.keys.a.b"]);
  assert.ok(isTopicName(keysTopic("a".repeat(100))) && isTopicName(joinTopic("a".repeat(100))));
});

test("mayPublish(), maySubscribe() and mayReceive() go by the rules, each for its direction", () => {
  assert.deepEqual(all("orders.a", may({ publish: "orders.*" })), [true, false, false]);
  assert.deepEqual(all("orders.a", may({ subscribe: "orders.*" })), [false, true, true]);
  assert.deepEqual(all("cards.a", may({ publish: "orders.*", subscribe: "orders.*" })), [false, false, false]);
  const other = { ...caller, id: `${SHOP}2` };
  const { publish, subscribe, receive } = may({ publish: ">", subscribe: ">" });
  assert.deepEqual([publish("a", other), subscribe("a", other), receive("a", other)], [false, false, false]);
});

test("mayPublish() and mayReceive() take names only, maySubscribe() patterns that a rule covers", () => {
  const rules = may({ publish: ">", subscribe: "orders.*" });
  for (const pattern of ["*", ">", "orders.*", "orders.>", "*.a"]) {
    assert.deepEqual([rules.publish(pattern), rules.receive(pattern)], [false, false], pattern);
  }
  assert.deepEqual(["orders.*", "orders.a"].map((each) => rules.subscribe(each)), [true, true]);
  assert.deepEqual(["orders.>", "*.a", ">", "*"].map((each) => rules.subscribe(each)), [false, false, false, false]);
});

test("who may subscribe to a topic may ask for its keys and read them, and nothing else", () => {
  const rules = may({ subscribe: "cards.a" });
  assert.deepEqual(all(joinTopic("cards.a"), rules), [true, false, false]);
  assert.deepEqual(all(keysTopic("cards.a"), rules), [false, true, true]);
  for (const make of [joinTopic, keysTopic]) assert.deepEqual(all(make("cards.b"), rules), [false, false, false]);
});

test("who may publish to a topic may give its keys and read who asks, and nothing else", () => {
  const rules = may({ publish: "cards.a" });
  assert.deepEqual(all(keysTopic("cards.a"), rules), [true, false, false]);
  assert.deepEqual(all(joinTopic("cards.a"), rules), [false, true, true]);
  for (const make of [joinTopic, keysTopic]) assert.deepEqual(all(make("cards.b"), rules), [false, false, false]);
});

test("patterns of key topics need rules that cover as much", () => {
  const narrow = may({ subscribe: "cards.*" });
  assert.deepEqual(["cards.*", "cards.a"].map((each) => narrow.subscribe(keysTopic(each))), [true, true]);
  for (const each of [">", "*", "cards.>", "*.a", "cards"]) {
    assert.equal(narrow.subscribe(keysTopic(each)), false, each);
    assert.equal(narrow.subscribe(joinTopic(each)), false, each);
  }
  const wide = may({ publish: ">" });
  assert.deepEqual([wide.subscribe(joinTopic(">")), wide.subscribe(keysTopic(">"))], [true, false]);
});

test("a wildcard never reaches reserved names that mean nothing", () => {
  const rules = may({ publish: [">", "*.>", "*.*", "*.*.*"], subscribe: [">", "*.>", "*.*", "*.*.*"] });
  const reserved = [
    "postern",
    "Postern",
    "POSTERN.x",
    "Postern.keys.a",
    "postern.x",
    "postern.join",
    "postern.keys",
    "postern.joins.a",
    "postern.Join.a",
    "postern.keys2.a",
    "postern.*",
    "postern.>",
    "postern.*.a",
    "postern.*.>",
    "postern.join.postern.x",
    "postern.join.postern.join.a",
    "postern.join.postern.keys.a",
    "postern.keys.postern.keys.a",
    "postern.keys.postern.join.postern.keys.a",
    "postern.keys.postern.>",
    "postern.join.postern.*.a",
  ];
  for (const name of reserved) assert.deepEqual(all(name, rules), [false, false, false], name);
});

test("a rule that names a reserved topic opens nothing", () => {
  const names = ["postern.x", "postern.join.a", "postern.keys.a", "postern.>", "postern.keys.>"];
  const rules = may({ publish: names, subscribe: names });
  for (const name of names) assert.deepEqual(all(name, rules), [false, false, false], name);
});

test("a rule for a pattern opens what a broker delivers by it topic by topic", () => {
  const rules = may({ subscribe: ["*.keys.*", "orders.*"] });
  assert.equal(rules.subscribe("*.keys.*"), true);
  assert.equal(rules.receive("a.keys.b"), true);
  assert.equal(rules.receive(keysTopic("orders")), false, "the wildcard reaches no keys");
  assert.equal(rules.receive(keysTopic("orders.a")), true);
});

test("hostile names are nobody's, whatever the rules say", () => {
  const rules = may({ publish: ">", subscribe: ">" });
  const hostile = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    "a\n",
    "a\0",
    " a",
    "$JS.API.x",
    "_INBOX.x",
    "a/b",
    "a.>.b",
    "a*",
    "postern.join.",
    "postern.keys..a",
    "postern.keys. a",
    "postern..keys.a",
    "а.b", // Cyrillic
    "a".repeat(129),
    keysTopic("a".repeat(116)),
  ];
  for (const name of hostile) assert.deepEqual(all(name, rules), [false, false, false], JSON.stringify(name));
  for (const name of [undefined, null, 1, ["a"], { toString: () => "a" }] as never[]) {
    assert.deepEqual(all(name, rules), [false, false, false]);
  }
});

test("what may be received may be published or subscribed to by the meaning of its name, whatever the rules", () => {
  const patterns = fc.constantFrom("a", "a.b", "a.*", "*.b", "*", "a.>", ">", "postern.keys.a");
  const names = fc.constantFrom("a", "a.b", "b", "b.b", "a.b.c");
  fc.assert(
    fc.property(patterns, patterns, names, (publish, subscribe, name) => {
      const rules = may({ publish, subscribe });
      assert.equal(rules.publish(joinTopic(name)), rules.subscribe(name));
      assert.equal(rules.subscribe(keysTopic(name)), rules.subscribe(name));
      assert.equal(rules.publish(keysTopic(name)), rules.publish(name));
      assert.equal(rules.subscribe(joinTopic(name)), rules.publish(name));
      for (const each of [name, joinTopic(name), keysTopic(name)]) {
        assert.equal(rules.receive(each), rules.subscribe(each));
      }
    }),
  );
});
