/** What went wrong and the way out of it: alone in place of the figures, or above the ones that still stand. */

import type { ComponentChildren } from 'preact';
import { copy } from '../copy/index.ts';
import { defaultSupportEmail, workspaceFacts } from '../store/facts.ts';
import { go, view } from '../store/navigation.ts';
import { usage } from '../store/page.ts';
import type { Standing } from '../store/usage.ts';
import { defaultView } from '../store/view.ts';
import { fill } from './bits.tsx';

interface Words {
  title: string;
  text?: ComponentChildren;
  action?: ComponentChildren;
  reference?: string | null;
}

const Button = ({ onClick, children }: { onClick: () => void; children: string }) => (
  <button type="button" class="button" onClick={onClick}>
    {children}
  </button>
);

const unknownAgent = (): Words => ({
  title: copy.agentUnknown,
  action: <Button onClick={() => go({ agent: null })}>{copy.showAll}</Button>,
});

function wordsFor({ failure, retryIn }: Standing): Words {
  const tryAgain = <Button onClick={() => usage.retry()}>{copy.tryAgain}</Button>;
  switch (failure.kind) {
    case 'unauthorized':
      // A reload keeps the address, and whoever sits in front of the page may sign its reader in again.
      return {
        title: copy.sessionEnded,
        action: <Button onClick={() => location.reload()}>{copy.signIn}</Button>,
      };
    case 'forbidden':
      return { title: copy.forbidden };
    case 'not_found':
      return view.value.agent !== null ? unknownAgent() : { title: copy.workspaceUnknown };
    case 'too_many':
      return { title: copy.tooMany(retryIn ?? 0) };
    case 'offline':
      return { title: copy.offline, action: tryAgain };
    case 'rejected':
      return {
        title: copy.errorTitle,
        text: failure.problem?.detail ?? failure.problem?.title,
        action: (
          <Button onClick={() => go({ range: defaultView.range, grain: 'auto' })}>
            {copy.showThisPeriod}
          </Button>
        ),
        reference: failure.reference,
      };
    default: {
      const email = workspaceFacts.value?.support_email || defaultSupportEmail;
      return {
        title: copy.errorTitle,
        text: fill(copy.errorText, <a href={`mailto:${email}`}>{email}</a>),
        action: tryAgain,
        reference: failure.reference,
      };
    }
  }
}

export const FailurePanel = ({ standing }: { standing: Standing }) => (
  <Panel words={wordsFor(standing)} quiet={standing.retryIn !== null} />
);

/** A link may name an agent of someone else's workspace, or of none: which, nobody is told. */
export const UnknownAgent = () => <Panel words={unknownAgent()} quiet={false} />;

function Panel({ words: { title, text, action, reference }, quiet }: { words: Words; quiet: boolean }) {
  return (
    <section class="card panel" role="alert" aria-labelledby="failure-title">
      <h2 id="failure-title" aria-live={quiet ? 'off' : undefined}>
        {title}
      </h2>
      {text && <p>{text}</p>}
      {action}
      {reference && <p class="muted small">{copy.reference(reference)}</p>}
    </section>
  );
}

/** `stamp` says from when, and of what, the figures below are. */
export function FailureLine({ standing, stamp }: { standing: Standing; stamp: ComponentChildren }) {
  const { title, text, action, reference } = wordsFor(standing);
  return (
    <>
      <p>
        {/* A countdown is not read out every second. */}
        <strong aria-live={standing.retryIn === null ? undefined : 'off'}>{title}</strong> {stamp}
      </p>
      {text && <p>{text}</p>}
      {action}
      {reference && <p class="small">{copy.reference(reference)}</p>}
    </>
  );
}
