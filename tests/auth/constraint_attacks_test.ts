import { type Constraint, CONSTRAINT_TYPES, MAX_CONSTRAINT_DEPTH } from "../../src/auth/constraint.ts";
import {
  allOf,
  anyOf,
  exact,
  oneOf,
  optional,
  pathPrefix,
  range,
  subset,
  wildcard,
} from "../../src/auth/constraint_builders.ts";
import { ConstraintError } from "../../src/auth/constraint_error.ts";
import { subsumption } from "../../src/auth/constraint_subsumption.ts";
import { narrower, parseToolMap, permits } from "../../src/auth/tool_map.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const TOOL = "payments.v1/charge";
const granted = {
  [TOOL]: {
    amount: range({ min: 0, minInclusive: false, max: 500 }),
    account: oneOf("acc-7", "acc-8"),
    tags: subset("rent", "food"),
    receipt: pathPrefix("/receipts/2024"),
    note: optional(anyOf(exact("monthly"), exact("yearly"))),
  },
  "files.v1/read": { path: allOf(pathPrefix("/data"), anyOf(pathPrefix("/data/a"), pathPrefix("/data/b"))) },
};
const parent = parseToolMap(granted);
const call = { amount: 5, account: "acc-7", tags: ["rent"], receipt: "/receipts/2024/may.pdf" };
const refuses = (value: unknown) => assert.throws(() => parseToolMap(value), ConstraintError);

describe("a holder that widens its right", () => {
  const { [TOOL]: charge } = granted;
  const { receipt: _receipt, ...withoutReceipt } = charge;
  const widened: readonly [title: string, child: unknown][] = [
    ["adds a tool", { ...granted, "payments.v1/refund": {} }],
    ["adds a tool beside narrower ones", { [TOOL]: charge, "admin.v1/drop": { all: exact(true) } }],
    ["drops a constraint", { [TOOL]: withoutReceipt }],
    ["drops every constraint", { [TOOL]: {} }],
    ["drops a constraint for an open world", { [TOOL]: { ...withoutReceipt, "*": wildcard() } }],
    ["opens the world", { [TOOL]: { ...charge, "*": wildcard() } }],
    ["names one more argument", { [TOOL]: { ...charge, currency: wildcard() } }],
    ["names an argument of every object", { [TOOL]: { ...charge, constructor: wildcard() } }],
    ["makes an argument optional", { [TOOL]: { ...charge, amount: optional(charge.amount) } }],
    ["turns a range into a wildcard", { [TOOL]: { ...charge, amount: wildcard() } }],
    ["raises a bound", { [TOOL]: { ...charge, amount: range({ min: 1, max: 501 }) } }],
    ["includes a bound", { [TOOL]: { ...charge, amount: range({ min: 0, max: 500 }) } }],
    ["drops a bound", { [TOOL]: { ...charge, amount: range({ min: 1 }) } }],
    ["adds a value", { [TOOL]: { ...charge, account: oneOf("acc-7", "acc-9") } }],
    ["picks another value", { [TOOL]: { ...charge, account: exact("acc-9") } }],
    ["adds an item", { [TOOL]: { ...charge, tags: subset("rent", "bets") } }],
    ["goes up in the path", { [TOOL]: { ...charge, receipt: pathPrefix("/receipts") } }],
    ["goes beside the path", { [TOOL]: { ...charge, receipt: pathPrefix("/receipts/20245") } }],
    ["goes up in the path by its segments", { [TOOL]: { ...charge, receipt: exact("/receipts/2024/../2023") } }],
    ["adds a clause to an any", { [TOOL]: { ...charge, note: optional(anyOf(exact("monthly"), exact("never"))) } }],
    ["hides a wildcard in an any", { [TOOL]: { ...charge, amount: anyOf(exact(1), wildcard()) } }],
    ["hides a wider range in an all", { [TOOL]: { ...charge, amount: allOf(wildcard(), range({ min: 1 })) } }],
    ["drops a clause of an all", { "files.v1/read": { path: pathPrefix("/data") } }],
  ];
  for (const [title, child] of widened) {
    test(`narrower() says no where it ${title}`, () => {
      assert.equal(narrower(parseToolMap(child), parent), false);
    });
  }

  test("narrower() says yes where it narrows everything at once", () => {
    const child = parseToolMap({
      [TOOL]: {
        amount: range({ min: 1, max: 20 }),
        account: exact("acc-7"),
        tags: subset("rent"),
        receipt: pathPrefix("/receipts/2024/may"),
      },
    });
    assert.equal(narrower(child, parent), true);
    assert.equal(narrower(parent, child), false);
  });
});

describe("a right with more in it than is understood", () => {
  const of = (constraint_type: string, members = {}) => ({ constraint_type, ...members });
  const bomb = (depth: number): unknown => {
    let tree: unknown = of("wildcard");
    for (let i = 1; i < depth; i++) tree = of(i % 2 === 0 ? "all" : "any", { constraints: [tree, tree] });
    return tree;
  };

  test("parseToolMap() refuses an unknown type wherever it stands", () => {
    const unknown = of("regex", { pattern: ".*" });
    refuses({ [TOOL]: { a: unknown } });
    refuses({ [TOOL]: { a: of("any", { constraints: [of("wildcard"), unknown] }) } });
    refuses({ [TOOL]: { "*": unknown } });
  });

  test("parseToolMap() refuses a member that is not known wherever it stands", () => {
    const extra = of("exact", { value: 1, unless: "friday" });
    refuses({ [TOOL]: { a: extra } });
    refuses({ [TOOL]: { a: of("all", { constraints: [extra] }) } });
    refuses({ [TOOL]: { "*": of("wildcard", { unless: "friday" }) } });
  });

  test("parseToolMap() refuses a hundred thousand levels without running out of stack", () => {
    let tree: unknown = of("wildcard");
    for (let i = 0; i < 100_000; i++) tree = of("all", { constraints: [tree] });
    refuses({ [TOOL]: { a: tree } });
  });

  test("parseToolMap() refuses a tree that holds itself", () => {
    const clauses: unknown[] = [];
    const tree = of("all", { constraints: clauses });
    clauses.push(tree);
    refuses({ [TOOL]: { a: tree } });
  });

  test("parseToolMap() refuses trees that double at each level, and looks at no more than it allows", () => {
    refuses({ [TOOL]: { a: bomb(MAX_CONSTRAINT_DEPTH) } });
    let looked = 0;
    const clause = Object.defineProperty({}, "constraint_type", {
      enumerable: true,
      get: () => (looked++, CONSTRAINT_TYPES.wildcard),
    });
    refuses({ [TOOL]: { a: of("any", { constraints: Array(1_000_000).fill(clause) }) } });
    assert.ok(looked <= 128, `looked at ${looked}`);
  });

  test("parseToolMap() looks at no value of a list that is too long", () => {
    let looked = 0;
    const values = new Proxy(Array(1_000_000).fill(1), {
      get: (target, key, receiver) => {
        looked++;
        return Reflect.get(target, key, receiver);
      },
    });
    refuses({ [TOOL]: { a: of("one_of", { values }) } });
    assert.ok(looked < 10, `looked at ${looked}`);
  });

  test("subsumption() compares each pair once, however the trees are nested", () => {
    let compared = 0;
    // A subset beside none of the parent's makes every way through both trees fail, so all are tried.
    const counted = (allowed: string): Constraint =>
      Object.defineProperty({ constraint_type: CONSTRAINT_TYPES.subset, allowed: [allowed] }, "allowed", {
        get: () => (compared++, [allowed]),
      });
    const chain = (type: "all" | "any", allowed: string): Constraint => {
      let tree: Constraint = { constraint_type: type, constraints: Array.from({ length: 20 }, () => counted(allowed)) };
      for (let i = 2; i < MAX_CONSTRAINT_DEPTH; i++) tree = { constraint_type: type, constraints: [tree] };
      return tree;
    };
    assert.equal(subsumption()(chain("all", "a"), chain("any", "b")), false);
    // Two lists are looked at for each of the 400 pairs of leaves.
    assert.equal(compared, 2 * 20 * 20);
  });
});

describe("a call beyond its right", () => {
  test("permits() says yes to the call that was meant", () => assert.equal(permits(parent, TOOL, call), true));

  const beyond: readonly [title: string, tool: string, args: Record<string, unknown>][] = [
    ["a tool that is not named", "payments.v1/refund", call],
    ["a tool in another spelling", "Payments.v1/charge", call],
    ["the service instead of a tool", "payments.v1", call],
    ["a tool of every object", "constructor", call],
    ["an argument outside", TOOL, { ...call, amount: 501 }],
    ["an argument on the excluded bound", TOOL, { ...call, amount: 0 }],
    ["a number as text", TOOL, { ...call, amount: "5" }],
    ["a number that is none", TOOL, { ...call, amount: NaN }],
    ["a list of one for a value", TOOL, { ...call, account: ["acc-7"] }],
    ["an item outside among many inside", TOOL, { ...call, tags: ["rent", "food", "bets"] }],
    ["an extra argument", TOOL, { ...call, currency: "EUR" }],
    ["an extra argument __proto__", TOOL, JSON.parse(JSON.stringify(call).replace("{", '{"__proto__":{},'))],
    ["an argument left out", TOOL, { account: "acc-7", tags: [], receipt: "/receipts/2024/may.pdf" }],
    ["a path out of the prefix", TOOL, { ...call, receipt: "/receipts/2024/../2023/may.pdf" }],
    ["an encoded path out of the prefix", TOOL, { ...call, receipt: "/receipts/2024/%2e%2e/2023" }],
    ["a path out of the prefix by backslashes", TOOL, { ...call, receipt: "/receipts/2024/..\\..\\x" }],
    ["a sibling with the same beginning", TOOL, { ...call, receipt: "/receipts/2024-private" }],
    ["a path under one clause only", "files.v1/read", { path: "/data/c" }],
  ];
  for (const [title, tool, args] of beyond) {
    test(`permits() says no to ${title}`, () => assert.equal(permits(parent, tool, args), false));
  }
});
