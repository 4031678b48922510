"""exp, log and what is made of them, over vectors: branch-free, right at the ends, at most a few ulp.

Each function reduces its argument to a short interval and evaluates a polynomial there. The polynomials are Chebyshev
approximations (mpmath's chebyfit; the errors stated are relative to the function approximated), one degree per type. They are
evaluated by powers of the square, two coefficients a step, which halves the chain of operations that wait for each other: it limits
the speed, as a processor holds the operations of a few vectors at a time. No result
is lost to overflow on the way: arguments are clamped to where the function is constant or rounds to 0 or inf, by `maximum` and
`minimum` with the argument first, so that NaN stays NaN.
"""

cdef inline vector _exp_tail(vector r, vector square) noexcept nogil:
    """(e^r - 1 - r) / r^2 for |r| <= log(2) / 2, to 2^-22 (float), 2^-58 (double)."""
    cdef vector p
    if vector is vfloat:
        p = like(r, 0.0013926183587713495)
        p = p * square + (like(r, 0.0083631790527225774) * r + like(r, 0.041666554617204574))
        p = p * square + (like(r, 0.16666576989698776) * r + like(r, 0.5))
    else:
        p = like(r, 2.0914686968086877e-9)
        p = p * square + (like(r, 2.5105217004720745e-8) * r + like(r, 2.7557273643110295e-7))
        p = p * square + (like(r, 2.7557255400206424e-6) * r + like(r, 2.4801587325547741e-5))
        p = p * square + (like(r, 0.00019841269874820625) * r + like(r, 0.0013888888888883748))
        p = p * square + (like(r, 0.0083333333333261351) * r + like(r, 0.04166666666666667))
        p = p * square + (like(r, 0.16666666666666671) * r + like(r, 0.5))
    return p


cdef inline vector _log1p_tail(vector w, vector square) noexcept nogil:
    """(2 atanh(s) - 2 s) / s^3 with w = s^2 <= 1/9, to 2^-31 (float), 2^-63 (double)."""
    cdef vector p
    if vector is vfloat:
        p = like(w, 0.20787616855746752) * w + like(w, 0.17464702465440774)
        p = p * square + (like(w, 0.22264711209001325) * w + like(w, 0.28570305721883662))
        p = p * square + (like(w, 0.40000010769949664) * w + like(w, 0.66666666650023614))
    else:
        p = like(w, 0.15231262619428985) * w + like(w, 0.063341108517702454)
        p = p * square + (like(w, 0.099420248965547346) * w + like(w, 0.10480399234365274))
        p = p * square + (like(w, 0.11767997767241036) * w + like(w, 0.13333176949138178))
        p = p * square + (like(w, 0.15384620253804162) * w + like(w, 0.18181818086005655))
        p = p * square + (like(w, 0.22222222223331987) * w + like(w, 0.28571428571421943))
        p = p * square + (like(w, 0.40000000000000015) * w + like(w, 0.66666666666666667))
    return p


cdef inline vector _normal_tail(vector t, vector square) noexcept nogil:
    """(y + 3.5) e^(y^2 / 2) P(Y > y), Y standard normal, t = (y - 3.5) / (y + 3.5), y >= 0, to 2^-25 (float), 2^-56 (double)."""
    cdef vector p
    if vector is vfloat:
        p = like(t, 0.00012143477044895548) * t + like(t, 0.00043783572609200893)
        p = p * square + (like(t, -0.00050042820043788318) * t + like(t, -0.0031894506124764813))
        p = p * square + (like(t, 0.0064931544279724152) * t + like(t, 0.01741043296801418))
        p = p * square + (like(t, -0.11605284499314993) * t + like(t, 0.31542466416195011))
        p = p * square + (like(t, -0.56556175530879093) * t + like(t, 0.7444160799239426))
    else:
        p = like(t, 1.566113614420488e-9) * t + like(t, 5.0511570877566523e-9)
        p = p * square + (like(t, -4.1084986500105647e-9) * t + like(t, -3.6875362311720193e-8))
        p = p * square + (like(t, -2.9785973435586878e-8) * t + like(t, 1.2478698157069234e-7))
        p = p * square + (like(t, 2.9418083635920352e-7) * t + like(t, -1.4400001839004367e-7))
        p = p * square + (like(t, -1.4790948854867963e-6) * t + like(t, -1.1645904828748447e-6))
        p = p * square + (like(t, 5.6519163249531003e-6) * t + like(t, 1.1506483788350998e-5))
        p = p * square + (like(t, -1.8788908726550397e-5) * t + like(t, -7.5584629821150852e-5))
        p = p * square + (like(t, 6.7033236039513553e-5) * t + like(t, 0.00047665709843071849))
        p = p * square + (like(t, -0.0004450129508010928) * t + like(t, -0.0031891010480981776))
        p = p * square + (like(t, 0.0064762189199367695) * t + like(t, 0.017407832602040711))
        p = p * square + (like(t, -0.11605092871408074) * t + like(t, 0.31542496988795262))
        p = p * square + (like(t, -0.56556181605377896) * t + like(t, 0.74441607543593813))
    return p


cdef inline vector _clamp(vector x, double low, double high) noexcept nogil:
    return minimum(maximum(x, like(x, low)), like(x, high))


cdef inline vector vexp(vector x) noexcept nogil:
    """e^x: with n = round(x / log 2), 2^n e^r, r = x - n log 2. Below 1 ulp; overflows to inf and underflows to 0 gradually."""
    cdef vector n, shifted
    x = _clamp(x, -104 if vector is vfloat else -746, 90 if vector is vfloat else 710)
    shifted = x * like(x, 1.4426950408889634) + like(x, rounder(x))
    n = shifted - like(x, rounder(x))
    return shift_exponent(_exp_near_0(_minus_log2(x, n)), shifted)


cdef inline vector vexp_negative(vector x) noexcept nogil:
    """e^x for x <= 0, with fewer operations: 2^n as 2^(n + 24) 2^-24, float64 with 60, both of which are normal numbers."""
    cdef vector n, shifted, start, below = like(x, 5.9604644775390625e-8 if vector is vfloat else 8.673617379884035e-19)
    x = maximum(x, like(x, -104 if vector is vfloat else -746))
    start = like(x, rounder_of_normal(x) + (24 if vector is vfloat else 60))
    shifted = x * like(x, 1.4426950408889634) + start
    n = shifted - start
    return _exp_near_0(_minus_log2(x, n)) * power_of_two(shifted) * below


cdef inline vector _exp_near_0(vector r) noexcept nogil:
    """e^r for |r| <= log(2) / 2."""
    cdef vector square = r * r
    return like(r, 1) + (r + square * _exp_tail(r, square))


cdef inline vector vexpm1(vector x) noexcept nogil:
    """e^x - 1 for x <= 0: no digits lost around 0, -1 from -40 on."""
    return _expm1(maximum(x, like(x, -40)))


cdef inline vector _expm1(vector x) noexcept nogil:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1) for -40 <= x <= 44.

    r is off by the rounding error of log 2, n times: nothing for x <= 0, and for tanh, which large x change little.
    """
    cdef vector n, shifted, r, square, power
    shifted = x * like(x, 1.4426950408889634) + like(x, rounder_of_normal(x))
    n = shifted - like(x, rounder_of_normal(x))
    r = x - n * like(x, 0.6931471805599453)
    square = r * r
    power = power_of_two(shifted)
    return (power * r + (power - like(x, 1))) + (power * square) * _exp_tail(r, square)


cdef inline vector _minus_log2(vector x, vector n) noexcept nogil:
    """x - n log 2, with log 2 in two parts, the first so short that its product with n is exact (Cody and Waite)."""
    if vector is vfloat:
        return (x - n * like(x, 0.693359375)) - n * like(x, -2.12194440054690583e-4)
    else:
        return (x - n * like(x, 0.693147180369123816490)) - n * like(x, 1.90821492927058770002e-10)


cdef inline vector vlog1p(vector e) noexcept nogil:
    """log(1 + e) for 0 <= e <= 1: 2 atanh(s), s = e / (2 + e)."""
    s = e / (like(e, 2) + e)
    w = s * s
    return like(e, 2) * s + s * w * _log1p_tail(w, w * w)


cdef inline vector vlog(vector x) noexcept nogil:
    """log x = n log 2 + 2 atanh((m - 1) / (m + 1)) with x = m 2^n; denormals count as 0, whose logarithm is -inf."""
    cdef vector n, m, s, w, y, one = like(x, 1), least
    least = like(x, 1.1754943508222875e-38 if vector is vfloat else 2.2250738585072014e-308)
    n = exponent(x)
    m = significand(x)
    s = (m - one) / (m + one)
    w = s * s
    y = like(x, 2) * s + s * w * _log1p_tail(w, w * w)
    y = n * like(x, 0.693359375 if vector is vfloat else 0.693147180369123816490) + (
        n * like(x, -2.12194440054690583e-4 if vector is vfloat else 1.90821492927058770002e-10) + y)
    y = where_less(x, like(x, INFINITY), y, x)
    y = where_less(x, least, like(x, -INFINITY), y)
    return where_less(x, like(x, 0), like(x, NAN), y)


cdef inline vector vtanh(vector x) noexcept nogil:
    """tanh |x| = E / (E + 2) with E = e^2|x| - 1."""
    cdef vector e = _expm1(minimum(absolute(x) + absolute(x), like(x, 44)))
    return with_sign(e / (e + like(x, 2)), x)


cdef inline vector vsigmoid(vector x) noexcept nogil:
    """1 / (1 + e^-x), for negative x as e^x / (1 + e^x)."""
    cdef vector one = like(x, 1), e = vexp_negative(-absolute(x)), inverse = one / (one + e)
    return where_less(x, like(x, 0), e * inverse, inverse)


cdef inline vector vsoftplus(vector x) noexcept nogil:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    return maximum(x, like(x, 0)) + vlog1p(vexp_negative(-absolute(x)))


cdef inline vector vnormal_density(vector x) noexcept nogil:
    """e^(-x^2 / 2) / sqrt(2 pi)."""
    return like(x, 0.3989422804014327) * _gauss(minimum(absolute(x), like(x, 15 if vector is vfloat else 39)))


cdef inline vector _gauss(vector x) noexcept nogil:
    """e^(-x^2 / 2), x finite: the rounding error of the square, which exp would magnify by x^2, is put back as a factor."""
    cdef vector square = x * x, lost = multiply_add(x, x, -square)
    return vexp_negative(like(x, -0.5) * square) * (like(x, 1) - like(x, 0.5) * lost)


cdef inline vector _normal_center(vector w, vector square) noexcept nogil:
    """P(0 < Y <= x) / x with w = x^2 <= 1, to 2^-30 (float), 2^-55 (double)."""
    cdef vector p
    if vector is vfloat:
        p = like(w, -7.6605381713820899e-6) * w + like(w, 0.00011350229619286141)
        p = p * square + (like(w, -0.0011863439888019887) * w + like(w, 0.0099733284812561706))
        p = p * square + (like(w, -0.066490360567186901) * w + like(w, 0.39894228013084062))
    else:
        p = like(w, -9.0261099045655837e-11) * w + like(w, 2.2270765391721187e-9)
        p = p * square + (like(w, -4.1173089319651836e-8) * w + like(w, 6.6593169040810419e-7))
        p = p * square + (like(w, -9.4446398086767738e-6) * w + like(w, 0.00011543468323083615))
        p = p * square + (like(w, -0.0011873282148079405) * w + like(w, 0.0099735570099833826))
        p = p * square + (like(w, -0.066490380066903859) * w + like(w, 0.39894228040143267))
    return p


cdef inline vector vnormal_cdf(vector x) noexcept nogil:
    """P(Y <= x) for a standard normal Y, (1 + erf(x / sqrt 2)) / 2, to full relative precision in the left tail too."""
    cdef vector one = like(x, 1), y, center, square, inverse, ratio, tail
    center = _clamp(x, -1, 1)
    square = center * center
    center = like(x, 0.5) + center * _normal_center(square, square * square)
    y = minimum(absolute(x), like(x, 15 if vector is vfloat else 39))
    inverse = one / (y + like(x, 3.5))
    ratio = (y - like(x, 3.5)) * inverse
    tail = _gauss(y) * _normal_tail(ratio, ratio * ratio) * inverse
    tail = where_less(x, like(x, 0), tail, one - tail)
    return where_less(y, one, center, tail)
