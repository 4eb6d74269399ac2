import { type Constraint, CONSTRAINT_TYPES, type Range } from "./constraint.ts";
import { satisfies } from "./constraint_check.ts";
import { isWithin } from "./constraint_path.ts";

/** Whether whatever satisfies the child satisfies the parent. */
export type Subsumption = (child: Constraint, parent: Constraint) => boolean;

/**
 * Makes the comparison of constraints, for one pair of tool maps.
 *
 * It goes by structure and never errs on the side of more: it is sound, reflexive and transitive, and says no to some
 * pairs that only arithmetic could justify, as a range under two that meet. Beyond the draft's table, a composite is
 * compared with everything, and a list of values with everything that each of them satisfies.
 *
 * Each pair of nodes is compared once, so the time is at most the product of the sizes of both trees.
 *
 * @see {@link https://datatracker.ietf.org/doc/draft-niyikiza-oauth-attenuating-agent-tokens/ | AAT}, section 4.5.
 */
export function subsumption(): Subsumption {
  const known = new Map<Constraint, Map<Constraint, boolean>>();
  const isNarrower: Subsumption = (child, parent) => {
    const ofChild = known.get(child) ?? new Map<Constraint, boolean>();
    known.set(child, ofChild);
    const answer = ofChild.get(parent) ?? compare(child, parent, isNarrower);
    ofChild.set(parent, answer);
    return answer;
  };
  return isNarrower;
}

// The order matters: what may be split without losing an answer (a parent's "all", a child's "any") is split first.
function compare(child: Constraint, parent: Constraint, isNarrower: Subsumption): boolean {
  if (parent.constraint_type === CONSTRAINT_TYPES.wildcard) return true;
  if (child.constraint_type === CONSTRAINT_TYPES.exact) return satisfies(parent, child.value);
  if (child.constraint_type === CONSTRAINT_TYPES.oneOf) {
    return child.values.every((value) => satisfies(parent, value));
  }
  if (parent.constraint_type === CONSTRAINT_TYPES.all) {
    return parent.constraints.every((clause) => isNarrower(child, clause));
  }
  if (child.constraint_type === CONSTRAINT_TYPES.any) {
    return child.constraints.every((clause) => isNarrower(clause, parent));
  }
  const underOneClause = parent.constraint_type === CONSTRAINT_TYPES.any &&
    parent.constraints.some((clause) => isNarrower(child, clause));
  if (child.constraint_type === CONSTRAINT_TYPES.all) {
    return underOneClause || child.constraints.some((clause) => isNarrower(clause, parent));
  }
  return underOneClause || isNarrowerOfSameType(child, parent);
}

function isNarrowerOfSameType(child: Constraint, parent: Constraint): boolean {
  if (child.constraint_type === CONSTRAINT_TYPES.range && parent.constraint_type === CONSTRAINT_TYPES.range) {
    return hasTighterMin(child, parent) && hasTighterMax(child, parent);
  }
  if (child.constraint_type === CONSTRAINT_TYPES.subset && parent.constraint_type === CONSTRAINT_TYPES.subset) {
    return child.allowed.every((value) => parent.allowed.includes(value));
  }
  if (child.constraint_type === CONSTRAINT_TYPES.pathPrefix && parent.constraint_type === CONSTRAINT_TYPES.pathPrefix) {
    return isWithin(parent.prefix, child.prefix);
  }
  return false;
}

function hasTighterMin(child: Range, parent: Range): boolean {
  if (parent.min === undefined) return true;
  if (child.min === undefined) return false;
  return child.min > parent.min ||
    (child.min === parent.min && (parent.min_inclusive !== false || child.min_inclusive === false));
}

function hasTighterMax(child: Range, parent: Range): boolean {
  if (parent.max === undefined) return true;
  if (child.max === undefined) return false;
  return child.max < parent.max ||
    (child.max === parent.max && (parent.max_inclusive !== false || child.max_inclusive === false));
}
