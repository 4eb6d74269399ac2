import { verifyChain } from "../../src/auth/capability_chain.ts";
import { parseToolMap, permits } from "../../src/auth/tool_map.ts";
import { attenuate, issueCapability, type ToolMap } from "../../src/auth/mod.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { test } from "node:test";
import { authority, here, now, range, terms, verify, web, webWit, wider } from "./_chains.ts";
import { byId, child, root } from "./_forge.ts";
import { ECHO, WEB } from "./_world.ts";

// Whatever a child permits, its parent permits: over random rights, and random children forged by hand.

const scalar = fc.constantFrom("a", "b", "c", 1, 2, 3);
const bound = fc.constantFrom(0, 1, 2, 3);
const simple = fc.oneof(
  scalar.map((value) => ({ constraint_type: "exact", value })),
  fc.uniqueArray(scalar, { minLength: 1, maxLength: 3 }).map((values) => ({ constraint_type: "one_of", values })),
  fc.tuple(bound, bound).map(([a, b]) => range(Math.min(a, b), Math.max(a, b))),
  fc.constant({ constraint_type: "wildcard" }),
);
const constraint = fc.oneof(
  simple,
  fc.array(simple, { minLength: 1, maxLength: 2 }).map((constraints) => ({ constraint_type: "any", constraints })),
  fc.array(simple, { minLength: 1, maxLength: 2 }).map((constraints) => ({ constraint_type: "all", constraints })),
);
const entry = fc.tuple(constraint, fc.boolean()).map(([given, optional]) => optional ? { ...given, optional } : given);
const argumentMap = fc.oneof(
  { weight: 4, arbitrary: fc.dictionary(fc.constantFrom("x", "y"), entry, { maxKeys: 2 }) },
  { weight: 1, arbitrary: fc.constant({ "*": { constraint_type: "wildcard" } }) },
);
const toolMap = fc.dictionary(fc.constantFrom("echo.v1/say", "echo.v1/look"), argumentMap, { minKeys: 1, maxKeys: 2 });
/** Every message over a small world. */
const messages = [undefined, "a", "b", "c", 1, 2, 3, 0].flatMap((x) =>
  [undefined, "a", 1, 2].map((y) => ({ ...x === undefined ? {} : { x }, ...y === undefined ? {} : { y } }))
);

test("verifyChain() accepts no child that permits what its parent does not", async () => {
  let accepted = 0;
  const half = (given: unknown) => given as ToolMap;
  await fc.assert(
    fc.asyncProperty(toolMap, toolMap, fc.boolean(), async (parentTools, other, subsetOnly) => {
      // Two random maps are seldom narrower: every other child is made of pieces of its parent.
      const childTools = subsetOnly ? Object.fromEntries(Object.entries(parentTools).slice(0, 1)) : other;
      const parent = await root(here, byId(WEB), wider(parentTools));
      const forged = await child(parent, web.key, byId(ECHO), wider(childTools));
      const chain = await verify(parent, webWit, forged).catch(() => undefined);
      if (!chain) return;
      accepted++;
      const [wide, narrow] = [parseToolMap(half(parentTools)), parseToolMap(half(childTools))];
      for (const tool of Object.keys(childTools)) {
        for (const message of messages) {
          if (!permits(narrow, tool, message)) continue;
          assert.ok(permits(wide, tool, message), `${tool} ${JSON.stringify(message)}`);
        }
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(accepted > 30, `only ${accepted} children were accepted`);
});

test("attenuate() and verifyChain() agree on what is narrower", async () => {
  const seen = { narrower: 0, wider: 0 };
  await fc.assert(
    fc.asyncProperty(toolMap, toolMap, async (parentTools, childTools) => {
      const tools = parseToolMap(parentTools);
      const parent = await issueCapability(authority, { holder: WEB, tools }, { now });
      const passed = await attenuate(parent, web, { holder: ECHO, tools: parseToolMap(childTools) }, { now })
        .then((right) => verifyChain(right.chain.reveal(), terms))
        .then(() => "narrower", (error) => error.reason === "wider_right" ? "wider" : assert.fail(error));
      const forged = await child(parent.chain.reveal(), web.key, byId(ECHO), wider(childTools));
      const verified = await verify(parent.chain.reveal(), webWit, forged).then(() => "narrower", () => "wider");
      assert.equal(passed, verified);
      seen[verified as keyof typeof seen]++;
    }),
    { numRuns: 150 },
  );
  assert.ok(seen.narrower > 3 && seen.wider > 3, JSON.stringify(seen));
});
