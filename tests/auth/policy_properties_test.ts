import { policy, type Question, type Rule } from "../../src/auth/mod.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";

const DOMAIN = "example.org";
const id = (path: string) => `spiffe://${DOMAIN}/${path}`;
const SAY = "echo.v1/say";

const paths = fc.constantFrom("a", "a/b", "a/b/c", "ab");
const pattern = fc.oneof(paths.map(id), paths.map((path) => `${id(path)}/*`), fc.constant(`spiffe://${DOMAIN}/*`));
const roles = fc.constantFrom("r", "s");
const someCalls = fc.constantFrom(SAY, "echo.v1/look", "echo.v1/*", "pay.v1/charge");
const someRule = fc.record({
  call: fc.array(someCalls, { minLength: 1, maxLength: 2 }),
  caller: fc.array(pattern, { minLength: 1, maxLength: 2 }),
  role: roles,
  attributes: fc.constant({ a: "1" }),
  capability: fc.boolean(),
  when: fc.constant(() => true),
}, { requiredKeys: ["call"], noNullPrototype: true }).filter((rule) =>
  rule.caller !== undefined || rule.role !== undefined || rule.attributes !== undefined || rule.capability === true
) as fc.Arbitrary<Rule>;
const someCaller = fc.record({
  id: paths.map(id),
  roles: fc.subarray(["r", "s"]),
  attributes: fc.constantFrom<Record<string, string>>({}, { a: "1" }, { a: "2" }),
});
const someQuestion = fc.record({
  caller: fc.option(someCaller, { nil: undefined }),
  call: fc.constantFrom(SAY, "echo.v1/look", "pay.v1/charge", "pay.v1/other"),
  capability: fc.boolean(),
});

/** The rules of policies, said in another way than the code says them. */
function holds({ call, caller, role, attributes, capability, anyone }: Rule, question: Question): boolean {
  const texts = (value: string | readonly string[]) => [value].flat() as string[];
  const [service, method] = question.call.split("/");
  const isCalled = texts(call ?? []).map((each) => each.split("/")).some(([s, m]) =>
    s === service && (m === "*" || m === method)
  );
  if (anyone) return isCalled;
  const who = question.caller;
  if (!isCalled || !who) return false;
  const segments = who.id.split("/");
  const isNamed = caller === undefined || texts(caller).some((each) => {
    const wanted = each.split("/");
    return wanted.at(-1) === "*"
      ? segments.length >= wanted.length && wanted.slice(0, -1).every((part, i) => part === segments[i])
      : each === who.id;
  });
  const hasRole = role === undefined || texts(role).filter((each) => who.roles.includes(each)).length > 0;
  const fits = JSON.stringify({ ...who.attributes, ...attributes }) === JSON.stringify(who.attributes);
  return isNamed && hasRole && fits && (!capability || question.capability);
}

test("Policy.matching() gives exactly the rules that hold, whatever they are", () => {
  fc.assert(
    fc.property(fc.array(someRule, { maxLength: 4 }), someQuestion, (rules, question) => {
      const expected = rules.filter((rule) => holds(rule, question));
      assert.deepEqual(policy(rules).matching(question), expected);
    }),
    { numRuns: 2_000 },
  );
});

test("Policy.explain() agrees with matching(), whatever the rules are", () => {
  fc.assert(
    fc.property(fc.array(someRule, { maxLength: 4 }), someQuestion, (rules, question) => {
      const { matching, explain } = policy(rules);
      const [first] = matching(question);
      const { allowed, rule, dependsOnMessage, reasons } = explain(question);
      assert.equal(allowed, first !== undefined);
      assert.deepEqual(rule === undefined ? undefined : rules[rule], first);
      assert.equal(dependsOnMessage, first?.when !== undefined);
      assert.equal(reasons.length, rule === undefined ? rules.length + 1 : rule + 1);
    }),
    { numRuns: 1_000 },
  );
});
