/** The one error of a constraint that is not well-formed. Its message names the place and never a value. */
export class ConstraintError extends TypeError {
  /** The class's name, as `error.name` shows it. */
  override readonly name = "ConstraintError";
  /** Where the constraint is, as `tools["payments.v1/charge"].amount`. */
  readonly place: string;

  /**
   * Makes the error.
   *
   * @param place Where the constraint is.
   * @param message What was found there and what was wanted, without any value.
   */
  constructor(place: string, message: string) {
    super(message);
    this.place = place;
  }
}

/** The refusal of a constraint; `found` says what was found at the place, never a value. */
export function cannotUse(place: string, found: string): ConstraintError {
  return new ConstraintError(place, `Cannot use the constraint at ${place}: ${found}`);
}
