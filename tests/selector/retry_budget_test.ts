import { retryBudget } from "../../src/selector/retry_budget.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const takeAll = (budget: ReturnType<typeof retryBudget>, most = 1_000) => {
  let taken = 0;
  while (taken < most && budget.take()) taken++;
  return taken;
};

test("retryBudget() begins with 32 attempts, and has no more", () => {
  assert.equal(takeAll(retryBudget()), 32);
});

test("retryBudget() never has more than it began with", () => {
  const budget = retryBudget();
  for (let i = 0; i < 100_000; i++) budget.deposit();
  assert.equal(takeAll(budget), 32);
});

test("retryBudget() gives a seventh of the calls another attempt in the long run", () => {
  const budget = retryBudget();
  takeAll(budget);
  let taken = 0;
  for (let i = 0; i < 10_000; i++) {
    budget.deposit();
    if (budget.take()) taken++;
  }
  assert.ok(taken >= 1_490 && taken <= 1_500, `${taken}`);
});

test("retryBudget() gives nothing where nobody calls", () => {
  const budget = retryBudget();
  takeAll(budget);
  for (let i = 0; i < 6; i++) budget.deposit();
  assert.equal(budget.take(), false);
  budget.deposit();
  assert.equal(budget.take(), true);
  assert.equal(budget.take(), false);
});

test("retryBudget() gives each its own attempts", () => {
  takeAll(retryBudget());
  assert.equal(takeAll(retryBudget()), 32);
});
