import type { HTMLAttributes } from 'preact';

declare module 'preact' {
  namespace JSX {
    interface IntrinsicElements {
      'calendar-range': HTMLAttributes<HTMLElement> & {
        months?: number;
        value?: string;
        min?: string;
        max?: string;
        today?: string;
        locale?: string;
        'focused-date'?: string;
        'first-day-of-week'?: number;
        'page-by'?: 'months' | 'single';
      };
      'calendar-month': HTMLAttributes<HTMLElement> & { offset?: number };
    }
  }
}
